// The files that a configuration names: certificates, keys, secrets. What is wrong with one is told
// without a byte of what it holds.
import { X509Certificate } from 'node:crypto';
import { constants, open } from 'node:fs/promises';
import { resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import type { JSONWebKeySet, JWK } from 'jose';
import { z } from 'zod';
import type { Explained } from './explain.ts';
import type { Parts } from './parts.ts';
import type { Path } from './problem.ts';

/** The largest bundle of authorities in use is some 250 KiB. */
const MAX_FILE_BYTES = 1_048_576;
/** RFC 7518 3.2: an HS256 key is as long as the hash's output, or longer. */
const HS256_BYTES = 32;
/** What goes into an Authorization header and comes out the same. */
const TOKEN = /^[\x21-\x7e]{1,1024}$/;
/** 120 bits and more when they are drawn at random. */
const HOOK_CHARACTERS = 24;
/** A certificate that ends sooner is worth a word at every check. */
const EXPIRES_SOON_MS = 14 * 24 * 3_600_000;

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

const KeySet = z.looseObject({ keys: z.array(z.looseObject({ kty: z.string() })).min(1) });

/** Contents of the files. Only the place that uses one should ever see it. */
export interface Secrets {
  /** HS256 key. */
  readonly identitySecret?: Uint8Array;
  readonly jwks?: JSONWebKeySet;
  /** PEM texts; the pair has been tried. */
  readonly tls?: { readonly cert: string; readonly key: string };
  /** Of an Unleash server: to read flags, to change them, and what its webhook shows. */
  readonly unleash?: {
    readonly client: string;
    readonly admin?: string;
    readonly hook?: string;
  };
  /** PEM texts of private authorities. */
  readonly ca: {
    readonly legacy?: string;
    readonly candidate?: string;
    readonly legacyTwin?: string;
  };
}

export interface Resolved {
  readonly secrets: Secrets;
  readonly problems: readonly Explained[];
  readonly warnings: readonly Explained[];
}

/** Reads every file that the sound parts of a configuration name, relative to `folder`. */
export async function resolveSecrets(
  parts: Parts,
  folder: string,
  now = Date.now(),
): Promise<Resolved> {
  const problems: Explained[] = [];
  const warnings: Explained[] = [];
  const read = async (path: Path, name: string | undefined): Promise<Buffer | undefined> => {
    if (name === undefined) return undefined;
    const content = await readSmall(resolve(folder, name));
    if (typeof content !== 'string') return content;
    problems.push({ path, message: content });
    return undefined;
  };
  const check = (path: Path, wrong: string | undefined): boolean => {
    if (wrong !== undefined) problems.push({ path, message: wrong });
    return wrong === undefined;
  };

  const tlsPath = ['listen', 'tls'];
  const certPath = [...tlsPath, 'certFile'];
  const cert = (await read(certPath, parts.listen?.tls?.certFile))?.toString();
  const keyPath = [...tlsPath, 'keyFile'];
  const key = (await read(keyPath, parts.listen?.tls?.keyFile))?.toString();
  let tls: Secrets['tls'];
  if (cert !== undefined && check(certPath, certificatesWrong(cert)) && key !== undefined) {
    if (check(keyPath, pairWrong(cert, key))) tls = { cert, key };
    const left = Date.parse(new X509Certificate(cert).validTo) - now;
    const end = left < 0 ? 'has expired' : 'expires within 14 days';
    if (left < EXPIRES_SOON_MS) warnings.push({ path: certPath, message: `${end}; renew it` });
  }

  const ca: { legacy?: string; candidate?: string; legacyTwin?: string } = {};
  for (const side of ['legacy', 'candidate', 'legacyTwin'] as const) {
    const path = ['upstreams', side, 'caFile'];
    const pem = (await read(path, parts[side]?.caFile))?.toString();
    if (pem !== undefined && check(path, certificatesWrong(pem))) ca[side] = pem;
  }

  const verify = parts.identity?.verify;
  let identitySecret: Uint8Array | undefined;
  let jwks: JSONWebKeySet | undefined;
  if (typeof verify === 'object' && 'secretFile' in verify) {
    const path = ['identity', 'verify', 'secretFile'];
    const content = await read(path, verify.secretFile);
    if (content !== undefined) {
      const secret = withoutNewline(content);
      if (
        check(path, secret.length === 0 ? 'names an empty file; put the secret in it' : undefined)
      ) {
        identitySecret = secret;
      }
      if (secret.length > 0 && secret.length < HS256_BYTES) {
        const message = `holds fewer than ${HS256_BYTES} bytes, which can be guessed (RFC 7518 3.2)`;
        warnings.push({ path, message });
      }
    }
  } else if (typeof verify === 'object') {
    const path = ['identity', 'verify', 'jwksFile'];
    const content = await read(path, verify.jwksFile);
    const keys = content && (await keySetOf(content.toString()));
    if (typeof keys === 'string') problems.push({ path, message: keys });
    else jwks = keys;
  }

  const token = async (path: Path, name: string | undefined): Promise<string | undefined> => {
    const text = (await read(path, name))?.toString('latin1').trim();
    if (text === undefined || TOKEN.test(text)) return text;
    const wrong = text === '' ? 'names an empty file' : 'names a file that holds no token';
    problems.push({ path, message: `${wrong}; put the token in it, and nothing else` });
    return undefined;
  };
  const flags = parts.flags?.provider === 'unleash' ? parts.flags : undefined;
  const client = await token(['flags', 'tokenFile'], flags?.tokenFile);
  const admin = await token(['flags', 'admin', 'tokenFile'], flags?.admin?.tokenFile);
  const hook = await token(['flags', 'hookTokenFile'], flags?.hookTokenFile);
  const unleash = client && { client, ...(admin && { admin }), ...(hook && { hook }) };
  if (hook !== undefined && hook.length < HOOK_CHARACTERS) {
    const message = `holds fewer than ${HOOK_CHARACTERS} characters, which can be guessed`;
    warnings.push({ path: ['flags', 'hookTokenFile'], message });
  }

  const secrets = {
    ...(unleash && { unleash }),
    ...(identitySecret && { identitySecret }),
    ...(jwks && { jwks }),
    ...(tls && { tls }),
    ca,
  };
  return { secrets, problems, warnings };
}

/** What is wrong with a file, said of the field that names it, or of the file. */
const OF_FIELD = { must: 'must name', of: 'names a file of', that: 'names a file that ' } as const;
const OF_FILE = { must: 'must be', of: 'has', that: '' } as const;

/** The bytes of a regular file of at most 1 MiB, or why not: what can be said of the field that names it, or of itself. */
export async function readSmall(path: string, isItself = false): Promise<Buffer | string> {
  const { must, of, that } = isItself ? OF_FILE : OF_FIELD;
  try {
    // Not blocking, so that a pipe without a writer is refused instead of waited for.
    const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) return `${must} a regular file`;
      if (stats.size > MAX_FILE_BYTES) return `${of} more than 1 MiB`;
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? cause.code : 'unknown error';
    if (code === 'ENOENT') return `${that}does not exist: ${path}`;
    if (code === 'EACCES') return `${that}may not be read: ${path}`;
    return `${that}can not be read (${code}): ${path}`;
  }
}

/** Editors and `echo` end a file with a newline that is no part of the secret. */
function withoutNewline(content: Buffer): Uint8Array {
  let end = content.length;
  if (content[end - 1] === 0x0a) end--;
  if (end < content.length && content[end - 1] === 0x0d) end--;
  return new Uint8Array(content.subarray(0, end));
}

function certificatesWrong(pem: string): string | undefined {
  const blocks = pem.match(PEM_CERTIFICATE) ?? [];
  if (blocks.length === 0) return 'names a file without a PEM certificate (-----BEGIN CERTIFICATE)';
  const bad = blocks.findIndex(block => !isCertificate(block));
  return bad < 0 ? undefined : `names a file whose certificate ${bad + 1} can not be parsed`;
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).subject !== '';
  } catch {
    // The question is only whether it parses; OpenSSL's reason names no place in the file.
    return false;
  }
}

function pairWrong(cert: string, key: string): string | undefined {
  try {
    createSecureContext({ cert, key });
    return undefined;
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
    return code === 'ERR_OSSL_X509_KEY_VALUES_MISMATCH'
      ? 'names a key that does not belong to the certificate of certFile'
      : 'names a file that is no PEM private key, or one with a passphrase';
  }
}

async function keySetOf(text: string): Promise<JSONWebKeySet | string> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    // The parser's message quotes the file.
    return 'names a file that is not valid JSON';
  }
  const { data } = KeySet.safeParse(parsed);
  if (data === undefined) return 'names a file that is no key set: {"keys": [{"kty": …}, …]}';
  for (const [i, key] of data.keys.entries()) {
    if (key.kty === 'oct') return `keys[${i}] is a shared secret; use secretFile for HS256`;
    if ('d' in key) return `keys[${i}] is a private key; only public keys belong here`;
    if (!(await isPublicKey(key))) return `keys[${i}] can not be used as a public key`;
  }
  return data;
}

async function isPublicKey(key: JWK): Promise<boolean> {
  // Every command reads a configuration, and few of them one with a key set.
  const { importJWK } = await import('jose');
  try {
    // A key set may leave `alg` out; any algorithm of the type shows whether the numbers are sound.
    const usual = key.kty === 'RSA' ? 'RS256' : key.kty === 'OKP' ? 'EdDSA' : 'ES256';
    await importJWK(key, key.alg ?? usual);
    return true;
  } catch {
    // Which number of the key is off helps nobody; its place in the set is told.
    return false;
  }
}
