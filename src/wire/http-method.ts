// Request methods (RFC 9110 9.2).

/** Methods that change nothing (9.2.1). */
const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE']);

/** True for a request that changes state, or may: any method that is not known to be safe. */
export function isWrite(method: string): boolean {
  return !SAFE.has(method);
}
