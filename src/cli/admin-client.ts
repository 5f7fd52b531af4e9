// The way from a command to a running proxy: where it listens, which token it asks for, and what its
// answers mean.
import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { z } from 'zod';
import type { Place } from '../config/load.ts';
import { CommandFailure } from './failure.ts';
import { DEFAULT_CONFIG, readPlace } from './local-config.ts';

/** An admin API answers in milliseconds; one that has not by then hangs. */
const ANSWER_MS = 10_000;
/** A change of flags on a server is answered when the server shows it, route by route. */
const CHANGE_MS = 60_000;
const ErrorAnswer = z.object({ error: z.object({ code: z.string(), message: z.string() }) });

export interface AdminPlace {
  readonly admin?: string;
  readonly tokenFile?: string;
  readonly config?: string;
  readonly json?: boolean;
}

/** A command that talks to a running proxy, with the options that say where it is. */
export function remoteCommand(name: string): Command {
  return new Command(name)
    .option('--admin <url>', "the proxy's admin address (else $CUTOVER_ADMIN, else --config)")
    .option('--token-file <file>', 'its admin token (else $CUTOVER_TOKEN_FILE, else --config)')
    .option('--config <file>', `configuration that names both (default: ${DEFAULT_CONFIG})`)
    .option('--json', 'print the answer as JSON');
}

export class AdminClient {
  readonly #url: string;
  readonly #token: string;
  readonly #tokenFile: string;

  constructor(url: string, token: string, tokenFile: string) {
    this.#url = url;
    this.#token = token;
    this.#tokenFile = tokenFile;
  }

  /** `T` is what the same version of the proxy answers. Throws `CommandFailure`, also on `signal`. */
  get<T>(
    path: string,
    query: Readonly<Record<string, string | undefined>> = {},
    signal?: AbortSignal,
  ): Promise<T> {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) parameters.set(name, value);
    }
    const timeout = AbortSignal.timeout(ANSWER_MS);
    return this.#ask<T>(`${path}${parameters.size > 0 ? `?${parameters}` : ''}`, {
      signal: signal === undefined ? timeout : AbortSignal.any([timeout, signal]),
    });
  }

  post<T>(path: string, body: object): Promise<T> {
    const by = callerName();
    const headers = {
      'content-type': 'application/json',
      ...(by === null ? {} : { 'x-cutover-by': by }),
    };
    const signal = AbortSignal.timeout(CHANGE_MS);
    return this.#ask<T>(path, { method: 'POST', headers, body: JSON.stringify(body), signal });
  }

  async #ask<T>(path: string, init: RequestInit): Promise<T> {
    const answer = await this.#fetch(path, init);
    const body: unknown = await answer.json().catch(() => undefined);
    if (answer.ok && typeof body === 'object' && body !== null) return body as T;
    const refusal = ErrorAnswer.safeParse(body).data?.error;
    if (refusal === undefined) {
      throw new CommandFailure(2, `what answers at ${this.#url} is not the admin API of a proxy`);
    }
    if (answer.status === 401) {
      const message = `the proxy at ${this.#url} does not know the token in ${this.#tokenFile}; it is another proxy's, or an old one`;
      throw new CommandFailure(1, message);
    }
    throw new CommandFailure(1, refusal.message);
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    try {
      return await fetch(`${this.#url}/api/v1${path}`, {
        ...init,
        headers: { ...init.headers, authorization: `Bearer ${this.#token}` },
        // The token is for this address alone.
        redirect: 'error',
      });
    } catch (error) {
      const message = `no proxy answers at ${this.#url} (${whyNot(error)}); is it running? cutover start, or name its address with --admin`;
      throw new CommandFailure(2, message, error);
    }
  }
}

/** Finds address and token: options, then environment, then configuration. Throws `CommandFailure`. */
export async function connectAdmin(place: AdminPlace): Promise<AdminClient> {
  const { CUTOVER_ADMIN, CUTOVER_TOKEN_FILE } = process.env;
  const admin = place.admin ?? CUTOVER_ADMIN;
  const named = place.tokenFile ?? CUTOVER_TOKEN_FILE;
  const config =
    admin !== undefined && named !== undefined
      ? null
      : await readPlace(place.config ?? DEFAULT_CONFIG);
  const url = admin === undefined && config !== null ? urlOf(config) : baseUrl(admin ?? '');
  const tokenFile = named ?? join(config?.stateDir ?? '', 'admin.token');
  return new AdminClient(url, await readToken(tokenFile), tokenFile);
}

function urlOf({ admin }: Place): string {
  if (admin.port === 0) {
    const message = 'admin.port is 0, so the port is chosen at start: name it with --admin';
    throw new CommandFailure(2, message);
  }
  // Where a proxy listens on all addresses, loopback is one of them.
  const host = { '0.0.0.0': '127.0.0.1', '::': '::1' }[admin.host] ?? admin.host;
  return `http://${host.includes(':') ? `[${host}]` : host}:${admin.port}`;
}

function baseUrl(text: string): string {
  const url = URL.parse(/^https?:\/\//.test(text) ? text : `http://${text}`);
  if (url !== null && url.username === '' && url.pathname === '/') return url.origin;
  const message = `${JSON.stringify(text)} is no address of an admin API; write it as http://127.0.0.1:8081`;
  throw new CommandFailure(2, message);
}

async function readToken(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    const why =
      code === 'ENOENT'
        ? 'is not there: has a proxy ever run with this configuration?'
        : 'can not be read: it belongs to the user whom the proxy runs as';
    throw new CommandFailure(2, `the admin token ${file} ${why}`, error);
  }
  const token = text.trim();
  if (/^[\x21-\x7e]{1,512}$/.test(token)) return token;
  throw new CommandFailure(2, `${file} holds no admin token`);
}

/** Who types the command, for the audit trail; null where that has no name that a header can carry. */
export function callerName(): string | null {
  try {
    const { username } = userInfo();
    return /^[\x21-\x7e]{1,64}$/.test(username) ? username : null;
  } catch {
    // A user id without a name, as in some containers.
    return null;
  }
}

function whyNot(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  if (code === 'ECONNREFUSED') return 'connection refused';
  if (error instanceof Error && error.name === 'TimeoutError') return 'no answer in time';
  return typeof code === 'string' ? code : 'the connection failed';
}
