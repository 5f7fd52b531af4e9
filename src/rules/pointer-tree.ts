// JSON pointers (RFC 6901) of a configuration as a tree, so that a walk through a value knows at each
// step which of them lead on from there. `*` is any index or key; a pointer is read through envelopes,
// and through an envelope in an envelope (the body of an HTTP answer holds one): `/message` is
// `/data/message` and `/body/data/message` too.

export const ANY_SEGMENT = '*';
const MOST_ENVELOPES = 2;

export interface PointerNode {
  readonly next: Map<string, PointerNode>;
  /** A pointer ends here. */
  isEnd: boolean;
}

/** Where a walk stands. */
export interface PointerPlace {
  readonly nodes: readonly PointerNode[];
  readonly depth: number;
  /** A pointer has led here, or further up. */
  readonly isNamed: boolean;
  /** The last step was one that only `*` allows. */
  readonly isAny: boolean;
}

export class PointerTree {
  readonly #root: PointerNode = { next: new Map(), isEnd: false };
  readonly #envelopes: readonly string[];
  readonly start: PointerPlace;

  constructor(pointers: readonly string[], envelopes: readonly string[]) {
    this.#envelopes = envelopes;
    for (const pointer of pointers) {
      let node = this.#root;
      for (const segment of segmentsOf(pointer)) {
        const next = node.next.get(segment) ?? { next: new Map(), isEnd: false };
        node.next.set(segment, next);
        node = next;
      }
      node.isEnd = true;
    }
    this.start = { nodes: [this.#root], depth: 0, isNamed: this.#root.isEnd, isAny: false };
  }

  step(from: PointerPlace, segment: string): PointerPlace {
    const nodes: PointerNode[] = [];
    let isAny = false;
    for (const { next } of from.nodes) {
      const named = next.get(segment);
      const any = next.get(ANY_SEGMENT);
      if (named !== undefined) nodes.push(named);
      if (any !== undefined) nodes.push(any);
      isAny ||= any !== undefined;
    }
    const isEnvelope = from.depth < MOST_ENVELOPES && this.#envelopes.includes(segment);
    if (isEnvelope) nodes.push(this.#root);
    const isNamed = from.isNamed || nodes.some(({ isEnd }) => isEnd);
    return { nodes, depth: from.depth + 1, isNamed, isAny };
  }
}

/** The segments of a pointer, unescaped. */
export function segmentsOf(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map(segment => segment.replaceAll('~1', '/').replaceAll('~0', '~'));
}

export function pointerOf(segments: readonly string[]): string {
  return segments.map(text => `/${text.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
}
