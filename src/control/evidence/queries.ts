// What is asked of the evidence that is kept. Every answer is a page: a few milliseconds, between
// which the thread writes on.
import type { DatabaseSync } from 'node:sqlite';
import { cleanUnitsUntil, confidenceOf } from '../../rules/confidence.ts';
import type { UnitKind } from '../../rules/unit-tracker.ts';
import type { Verdict } from '../../rules/verdict.ts';
import type {
  CountedUnits,
  CountingRestart,
  EvidenceFilter,
  EvidenceSummary,
  FindingPage,
  GroupExamples,
  GroupPage,
  KeptContamination,
  KeptFinding,
  KeptGroup,
  RouteConfidence,
} from './kept.ts';

const HOUR_MS = 3_600_000;
/** Share of all groups beyond which a filter is taken to leave much of what is kept. */
const WIDE = 0.1;
const GROUP_COLUMNS = `id, route, event_type AS eventType, verdict, kind, path, count,
  first_at AS firstAt, last_at AS lastAt,
  (SELECT count(*) FROM memberships WHERE group_id = groups.id) AS examples`;

export interface EvidenceQueries {
  /** Route by route and type by type, the most frequent kind first. */
  groups: (filter: EvidenceFilter & { limit: number; offset: number }) => GroupPage;
  /** One group with its examples, oldest first; null if there is none with that id. */
  group: (id: number) => GroupExamples | null;
  /** Those events of these sessions in which another user's data was found. */
  contaminated: (sessions: readonly string[]) => readonly KeptContamination[];
  /** Every kept finding once, oldest first. */
  findings: (filter: EvidenceFilter & { limit: number; after: number }) => FindingPage;
  /** `since` is epoch ms, rounded up to the hour. */
  summary: (filter: {
    route?: string | undefined;
    since: number | null;
    threshold: number;
  }) => EvidenceSummary;
  /**
   * Forgets how many runs and sessions there were; kinds and examples stay. Returns what was counted. Those that are
   * under way, and not counted yet, the thread has the judge forget.
   */
  restart: (of: { route?: string | undefined }) => CountedUnits;
}

export function evidenceQueries(database: DatabaseSync): EvidenceQueries {
  return {
    groups({ limit, offset, ...filter }) {
      const { where, values } = conditions(filter);
      const rows = database
        .prepare(
          `SELECT ${GROUP_COLUMNS} FROM groups ${where}
           ORDER BY route, event_type, count DESC, id LIMIT ? OFFSET ?`,
        )
        .all(...values, limit, offset);
      const total = database.prepare(`SELECT count(*) AS n FROM groups ${where}`).get(...values);
      return { groups: rows as unknown as KeptGroup[], total: Number(total?.n) };
    },

    group(id) {
      const group = database.prepare(`SELECT ${GROUP_COLUMNS} FROM groups WHERE id = ?`).get(id);
      if (group === undefined) return null;
      const rows = database
        .prepare(
          `SELECT id, finding FROM examples
           WHERE id IN (SELECT example_id FROM memberships WHERE group_id = ?) ORDER BY id`,
        )
        .all(id);
      return { group: group as unknown as KeptGroup, examples: rows.map(finding) };
    },

    contaminated(sessions) {
      const rows = database
        .prepare(
          `SELECT group_id AS "group", examples.id AS example, examples.at AS at,
             json_extract(finding, '$.session') AS session, route, event_type AS eventType
           FROM examples JOIN memberships ON example_id = examples.id
             JOIN groups ON groups.id = group_id
           WHERE verdict = 'contaminated' AND json_extract(finding, '$.session') IN (SELECT value FROM json_each(?))`,
        )
        .all(JSON.stringify(sessions));
      return rows as unknown as KeptContamination[];
    },

    findings({ limit, after, ...filter }) {
      const { where, values } = conditions(filter);
      const isAll = where === '';
      const among = isAll ? '' : ofGroups(where, isWide(database, where, values));
      const rows = database
        .prepare(
          `SELECT id, finding FROM examples
           WHERE id > ? ${isAll ? '' : `AND id IN (${among})`}
           ORDER BY id LIMIT ?`,
        )
        .all(after, ...(isAll ? [] : [after, ...values, limit]), limit);
      const last = rows.length < limit ? null : Number(rows.at(-1)?.id);
      return { findings: rows.map(finding), after: last };
    },

    summary({ route, since, threshold }) {
      const hour = since === null ? 0 : Math.ceil(since / HOUR_MS);
      const rows = database
        .prepare(
          `SELECT route, event_type AS eventType, kind, sum(units) AS units, sum(diverged) AS diverged
           FROM units WHERE hour >= ? ${route === undefined ? '' : 'AND route = ?'}
           GROUP BY route, event_type, kind ORDER BY route, event_type, kind`,
        )
        .all(hour, ...(route === undefined ? [] : [route]));
      const kinds = kindsOf(database);
      const rates = rows.map((row): RouteConfidence => {
        const name = String(row.route);
        const eventType = row.eventType === '' ? null : String(row.eventType);
        const totals = { units: Number(row.units), diverged: Number(row.diverged) };
        return {
          ...{ route: name, eventType, of: row.kind as UnitKind, ...confidenceOf(totals) },
          cleanUnitsLeft: cleanUnitsUntil(totals, threshold),
          kinds: kinds.get(JSON.stringify([name, eventType])) ?? {},
        };
      });
      const restarts = restartsOf(database, route, hour * HOUR_MS);
      return { threshold, since: since === null ? null : hour * HOUR_MS, restarts, rates };
    },

    restart({ route }) {
      const ofRoute = route === undefined ? '' : 'AND route = ?';
      const values = route === undefined ? [] : [route];
      const counted = database
        .prepare(
          `SELECT coalesce(sum(units), 0) AS units, coalesce(sum(diverged), 0) AS diverged
           FROM units WHERE event_type = '' ${ofRoute}`,
        )
        .get(...values);
      database.exec('BEGIN IMMEDIATE');
      try {
        database.prepare(`DELETE FROM units WHERE true ${ofRoute}`).run(...values);
        database.prepare(`DELETE FROM restarts WHERE true ${ofRoute}`).run(...values);
        database.prepare('INSERT INTO restarts VALUES (?, ?)').run(route ?? '', Date.now());
        database.exec('COMMIT');
      } catch (error) {
        if (database.isTransaction) database.exec('ROLLBACK');
        throw error;
      }
      return counted as unknown as CountedUnits;
    },
  };
}

/**
 * The next page of examples of those groups. Of few groups all their later examples are sorted; of many they are met
 * soon in the order in which examples lie, and `+` has no index of groups taken for that.
 */
function ofGroups(where: string, isWide: boolean): string {
  return `SELECT DISTINCT example_id FROM memberships
    WHERE example_id > ? AND ${isWide ? '+' : ''}group_id IN (SELECT id FROM groups ${where})
    ORDER BY example_id LIMIT ?`;
}

function isWide(database: DatabaseSync, where: string, values: readonly string[]): boolean {
  const count = 'SELECT count(*) AS n FROM groups';
  const all = database.prepare(count).get();
  const those = database.prepare(`${count} ${where}`).get(...values);
  return Number(those?.n) > Number(all?.n) * WIDE;
}

/** Those after `after` (epoch ms). */
function restartsOf(
  database: DatabaseSync,
  route: string | undefined,
  after: number,
): readonly CountingRestart[] {
  return database
    .prepare(
      `SELECT nullif(route, '') AS route, at FROM restarts
       WHERE at > ? ${route === undefined ? '' : "AND route IN ('', ?)"} ORDER BY restarts.route`,
    )
    .all(after, ...(route === undefined ? [] : [route])) as unknown as CountingRestart[];
}

/** How many groups there are of each verdict, by route and type, and by route alone. */
function kindsOf(database: DatabaseSync): Map<string, Partial<Record<Verdict, number>>> {
  const rows = database
    .prepare(
      'SELECT route, event_type, verdict, count(*) AS n FROM groups GROUP BY route, event_type, verdict',
    )
    .all();
  const kinds = new Map<string, Partial<Record<Verdict, number>>>();
  for (const { route, event_type, verdict, n } of rows) {
    for (const key of [JSON.stringify([route, event_type]), JSON.stringify([route, null])]) {
      const counted = kinds.get(key) ?? {};
      kinds.set(key, counted);
      counted[verdict as Verdict] = (counted[verdict as Verdict] ?? 0) + Number(n);
    }
  }
  return kinds;
}

function finding({ id, finding: text }: Record<string, unknown>): KeptFinding {
  return { id: Number(id), ...JSON.parse(String(text)) };
}

function conditions({ route, type, verdict, path }: EvidenceFilter): {
  where: string;
  values: string[];
} {
  const parts: string[] = [];
  const values: string[] = [];
  const equal = (column: string, value: string | undefined) => {
    if (value === undefined) return;
    parts.push(`${column} = ?`);
    values.push(value);
  };
  equal('route', route);
  equal('event_type', type);
  equal('verdict', verdict);
  if (path !== undefined) {
    // Not LIKE: names of fields hold its wildcards. The character after / is 0.
    parts.push('(path = ? OR (path >= ? AND path < ?))');
    values.push(path, `${path}/`, `${path}0`);
  }
  return { where: parts.length === 0 ? '' : `WHERE ${parts.join(' AND ')}`, values };
}
