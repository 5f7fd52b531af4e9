// One of the two services: where it is, what is sent to it, and how a connection to it is opened.
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import type { UpstreamConfig } from '../config/schema.ts';
import type { Side } from '../rules/decide.ts';
import { forwardingFields, type Hop, isProxyField } from '../wire/forwarding.ts';
import { endToEnd, type RawHeaders } from '../wire/headers.ts';
import { type RequestTarget, rewritePath } from '../wire/request-target.ts';
import { lookupShared } from './lookup.ts';

/**
 * Dead peers: after 30 s of silence three probes, 10 s apart, so that a peer whose link is down is
 * gone within 60 s.
 */
const KEEPALIVE = { idleMs: 30_000, betweenMs: 10_000, probes: 3 } as const;

/** This process in a Via field (RFC 9110 7.6.3); its own, so that it knows what it sent itself. */
export const VIA_NAME = `cutover-${randomBytes(4).toString('hex')}`;

export interface Upstream {
  readonly side: Side;
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
  /** Host and port as they stand in a Host field. */
  readonly authority: string;
  readonly basePath: string;
  readonly ca: Buffer | string | undefined;
  readonly config: UpstreamConfig;
}

export function upstreamOf(side: Side, config: UpstreamConfig, ca?: Buffer | string): Upstream {
  const url = new URL(config.url);
  const secure = url.protocol === 'https:';
  return {
    side,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port) || (secure ? 443 : 80),
    secure,
    authority: url.host,
    basePath: url.pathname === '/' ? '' : url.pathname,
    ca,
    config,
  };
}

/** What a request is known by to services and in logs: the client's own ids if they are usable. */
export interface RequestIds {
  readonly requestId: string;
  /** W3C Trace Context. */
  readonly traceparent: string;
}

/** What is known of a client's request besides its own head. */
export interface RequestFacts extends RequestIds {
  readonly target: RequestTarget;
  readonly headers: RawHeaders;
  readonly hop: Hop;
}

/** Path and query for this service. */
export function targetFor(upstream: Upstream, target: RequestTarget): string {
  return rewritePath(target.path, upstream.config.rewrite, upstream.basePath) + target.query;
}

/**
 * The client's fields as the service gets them: its own, in order and spelling, without those of
 * the connection, then what a proxy adds. `drop` takes out further ones (lower case names).
 */
export function fieldsFor(
  upstream: Upstream,
  request: RequestFacts,
  drop: (name: string) => boolean = () => false,
): string[] {
  const { hop } = request;
  const own = upstream.config.headers;
  const ownNames = new Set(Object.keys(own).map(name => name.toLowerCase()));
  return [
    'Host',
    // A client of HTTP/1.0 may have named no host.
    (upstream.config.hostHeader === 'preserve' && hop.host) || upstream.authority,
    ...endToEnd(
      request.headers,
      name => name === 'host' || isProxyField(name) || ownNames.has(name) || drop(name),
    ),
    ...forwardingFields(request.headers, hop),
    'Via',
    `${hop.version} ${VIA_NAME}`,
    'X-Request-Id',
    request.requestId,
    'Traceparent',
    request.traceparent,
    ...Object.entries(own).flat(),
  ];
}

/**
 * Opens a connection. With `onread`, bytes are read into that one buffer and handed over as they
 * come; whoever keeps or passes them on must copy them first (a pending write would be overwritten
 * by the next read: another user's bytes).
 */
export function connect(upstream: Upstream, onread?: net.OnReadOpts): net.Socket {
  const { host, port } = upstream;
  const how = { lookup: lookupShared, ...(onread === undefined ? {} : { onread }) };
  const socket = upstream.secure
    ? tls.connect({
        host,
        port,
        ...(upstream.ca === undefined ? {} : { ca: upstream.ca }),
        ...(net.isIP(host) === 0 ? { servername: host } : {}),
        minVersion: 'TLSv1.2',
        ALPNProtocols: ['http/1.1'],
        ...how,
      })
    : net.connect({ host, port, allowHalfOpen: true, ...how });
  socket.setNoDelay(true);
  watchForDeadPeer(socket);
  return socket;
}

/** What the system says where this machine or process has nothing left to make a connection of. */
const EXHAUSTED: ReadonlySet<string> = new Set([
  'EMFILE',
  'ENFILE',
  'EADDRNOTAVAIL',
  'ENOBUFS',
  'ENOMEM',
]);

/** Whose fault it is that a connection can not be had, by the system's code. */
export function connectFailure(code: string | undefined): 'exhausted' | 'upstream-unreachable' {
  return EXHAUSTED.has(code ?? '') ? 'exhausted' : 'upstream-unreachable';
}

/** Lets the kernel find out that a silent peer is gone. */
export function watchForDeadPeer(socket: net.Socket): void {
  const { idleMs, betweenMs, probes } = KEEPALIVE;
  setKeepAlive.call(socket, true, idleMs, betweenMs, probes);
}

/** Interval and number of probes came with Node 24.17; older ones ignore them (ten, 1 s apart). */
const setKeepAlive: (on: boolean, idleMs: number, betweenMs: number, probes: number) => void =
  net.Socket.prototype.setKeepAlive;
