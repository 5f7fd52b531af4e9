// `scripts/supply [FOLDER]`: judges the package.json and package-lock.json (version 3) of a folder.
import { readFileSync } from 'node:fs';
import path from 'node:path';

/** Below these, faults are known by which a peer stops or confuses a proxy. */
const FLOORS: Readonly<Record<string, string>> = {
  // Fragments without bound, and many small chunks (CVE-2026-62389, CVE-2026-48779).
  ws: '8.21.1',
  // Fields and frames of a hostile service (CVE-2026-1527, CVE-2026-1528, CVE-2026-2229).
  undici: '7.28.0',
};

/** Packages that must not be there, and what is in their place. */
const REPLACED: Readonly<Record<string, string>> = {
  // It dies of a client's reset while an upgrade is pending, and keeps the sockets of aborted requests.
  'http-proxy': 'http-proxy-3',
};

interface Locked {
  /** The package's own name, where it is installed under another one. */
  readonly name?: string;
  readonly version?: string;
  readonly license?: string;
  readonly hasInstallScript?: boolean;
  readonly dev?: boolean;
  readonly link?: boolean;
}

interface Part {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  readonly hasInstallScript: boolean;
}

const folder = process.argv[2] ?? '.';
const parts = runtimeParts(read('package-lock.json').packages ?? {});
const problems = parts.flatMap(part => problemsOf(part, read('package.json').allowScripts ?? {}));

for (const { name, version, licence, hasInstallScript } of parts) {
  const script = hasInstallScript ? 'install script' : '';
  console.log(`${name.padEnd(44)} ${version.padEnd(12)} ${licence.padEnd(14)} ${script}`.trimEnd());
}
const licences = Map.groupBy(parts, part => part.licence);
console.log(
  `${parts.length} runtime packages: ${[...licences].map(([l, of]) => `${of.length} ${l}`).join(', ')}`,
);
if (parts.length === 0) problems.push('no package is locked: is this the right folder?');
for (const problem of problems) console.error(`supply: ${problem}`);
process.exitCode = problems.length === 0 ? 0 : 1;

function read(file: string): { packages?: Record<string, Locked>; allowScripts?: object } {
  return JSON.parse(readFileSync(path.join(folder, file), 'utf8'));
}

/**
 * What is installed for production, wherever in the tree, in the order of names. `dev` alone stays away:
 * `devOptional` is a tool's and an optional part of ours, and comes with the latter.
 */
function runtimeParts(packages: Readonly<Record<string, Locked>>): Part[] {
  return Object.entries(packages)
    .filter(([place, { dev, link }]) => place !== '' && !dev && !link)
    .map(([place, locked]) => ({
      name: locked.name ?? place.slice(place.lastIndexOf('node_modules/') + 'node_modules/'.length),
      version: locked.version ?? '',
      licence: locked.license ?? 'unknown',
      hasInstallScript: locked.hasInstallScript ?? false,
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function problemsOf({ name, version, licence, hasInstallScript }: Part, allowed: object): string[] {
  const floor = Object.hasOwn(FLOORS, name) ? FLOORS[name] : undefined;
  const instead = Object.hasOwn(REPLACED, name) ? REPLACED[name] : undefined;
  return [
    ...(floor !== undefined && isBelow(version, floor)
      ? [`${name} ${version} is below ${floor}, the first that is known to be safe`]
      : []),
    ...(instead === undefined ? [] : [`${name} ${version} is not to be used; ${instead} is`]),
    ...(hasInstallScript && !isAllowed(name, version, allowed)
      ? [`${name} ${version} runs a script when it is installed, and allowScripts does not name it`]
      : []),
    ...(licence === 'unknown' ? [`${name} ${version} names no licence`] : []),
  ];
}

/** `allowScripts` of npm: names, or names with versions, that are true. */
function isAllowed(name: string, version: string, allowed: object): boolean {
  return Object.entries(allowed).some(
    ([key, value]) => value === true && (key === name || key === `${name}@${version}`),
  );
}

/** True if a version comes before `floor`; what comes before a release does too (semver.org 11). */
function isBelow(version: string, floor: string): boolean {
  const [release = '', before] = version.split('-', 2);
  const own = release.split('.').map(Number);
  const least = floor.split('.').map(Number);
  const at = least.findIndex((part, i) => part !== own[i]);
  return at === -1 ? before !== undefined : !((own[at] ?? 0) > (least[at] ?? 0));
}
