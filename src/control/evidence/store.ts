// Evidence in one SQLite file: a few examples of every kind of finding, and counts of all. Synchronous:
// it has a thread to itself.
import { chmodSync, closeSync, openSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import type { EvidenceBatch, Example, GroupCount } from '../../rules/evidence-batch.ts';
import { OTHER } from '../../rules/evidence-group.ts';
import type { UnitCount } from '../../rules/unit-tracker.ts';
import type { EvidenceLimits, EvidenceUse } from './kept.ts';
import { migrate } from './schema.ts';

/** Beyond, new places of a type, and new types of a route, are counted together. */
const MOST_GROUPS_OF_TYPE = 200;
const MOST_TYPES_OF_ROUTE = 100;
/** Evicting makes room for a while, so that it is not done at every batch. */
const EVICT_SHARE = 0.1;
const MB = 1024 * 1024;
const DAY_MS = 24 * 3_600_000;
const HOUR_MS = 3_600_000;
/** A process that drains may still be writing when the next one begins. */
const BUSY_MS = 2_000;
/** The log beside the file (WAL) is cut back to this after it was carried over. */
const MOST_LOG_BYTES = 4 * MB;

export class EvidenceStore {
  readonly #database: DatabaseSync;
  readonly #statements: ReturnType<typeof statements>;
  /** How many examples a group has, where that is known: counting takes as long as there are some. */
  readonly #members = new Map<number, number>();
  #limits: EvidenceLimits;

  /** Opens the file, or makes it. Throws what SQLite does. */
  constructor(file: string, limits: EvidenceLimits) {
    this.#limits = limits;
    // SQLite gives its log and index the mode of the file.
    closeSync(openSync(file, 'a', 0o600));
    chmodSync(file, 0o600);
    this.#database = new DatabaseSync(file, { timeout: BUSY_MS });
    try {
      this.#database.exec(`
        PRAGMA auto_vacuum = INCREMENTAL;
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = NORMAL;
        PRAGMA journal_size_limit = ${MOST_LOG_BYTES};
      `);
      migrate(this.#database);
      this.#check();
      this.#statements = statements(this.#database);
      this.limit(limits);
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  /** For reading; whoever writes does it here. */
  get database(): DatabaseSync {
    return this.#database;
  }

  limit(limits: EvidenceLimits): void {
    this.#limits = limits;
  }

  /** Keeps a redacted batch, whole or not at all. Returns how many examples are new. */
  keep(batch: EvidenceBatch): number {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      const groups = batch.groups.map(group => this.#count(group));
      for (const example of batch.examples) this.#add(example, groups);
      for (const count of batch.units) this.#countUnits(count);
      this.#evict();
      this.#database.exec('COMMIT');
    } catch (error) {
      this.#rollBack();
      throw error;
    }
    return batch.examples.length;
  }

  /** Drops what is too old, and gives room back to the disk. */
  retain(nowMs: number): void {
    this.#members.clear();
    const oldest = nowMs - this.#limits.maxAgeDays * DAY_MS;
    const { dropGroups, dropExamples, dropUnits, dropOrphans } = this.#statements;
    dropGroups.run(oldest);
    dropExamples.run(oldest);
    dropUnits.run(Math.floor(oldest / HOUR_MS));
    dropOrphans.run();
    this.#database.exec('PRAGMA incremental_vacuum');
  }

  use(): EvidenceUse {
    const { rows, groups } = this.#statements;
    return { rows: countOf(rows), groups: countOf(groups), bytes: this.#bytes() };
  }

  close(): void {
    this.#database.close();
  }

  #check(): void {
    const [first] = this.#database.prepare('PRAGMA quick_check(1)').all();
    if (first?.quick_check !== 'ok') throw new DamagedFile(String(first?.quick_check));
  }

  /** The group's id, or that of the one which counts for it where it found no room. */
  #count(group: GroupCount): number {
    const { route, eventType, verdict, kind, path, count, firstAt, lastAt } = group;
    const { findGroup, countGroup } = this.#statements;
    const [type, k, p] =
      findGroup.get(route, eventType, verdict, kind, path) !== undefined
        ? [eventType, kind, path]
        : (this.#room(route, eventType) ?? [eventType, kind, path]);
    return Number(countGroup.get(route, type, verdict, k, p, count, firstAt, lastAt)?.id);
  }

  /** Where a new group of that type is counted if it finds no room of its own. */
  #room(route: string, eventType: string): readonly [string, string, string] | null {
    const ofType = countOf(this.#statements.groupsOfType, route, eventType);
    if (ofType >= MOST_GROUPS_OF_TYPE) return [eventType, '', `/${OTHER}`];
    if (ofType > 0 || countOf(this.#statements.typesOfRoute, route) < MOST_TYPES_OF_ROUTE)
      return null;
    return [OTHER, '', ''];
  }

  #add({ finding, groups, cut }: Example, ids: readonly number[]): void {
    const { addExample, addMember, middleMember, dropMember, dropOrphan } = this.#statements;
    const text = JSON.stringify({ ...finding, cut });
    const example = Number(addExample.run(finding.at, text).lastInsertRowid);
    for (const index of groups) {
      const group = ids[index];
      if (group === undefined) continue;
      const members = this.#membersOf(group) + Number(addMember.run(group, example).changes);
      this.#members.set(group, members);
      // A frequent kind takes no more room than a rare one.
      if (members <= this.#limits.examples) continue;
      const middle = Number(middleMember.get(group, Math.floor(this.#limits.examples / 2))?.id);
      dropMember.run(group, middle);
      dropOrphan.run(middle, middle);
      this.#members.set(group, members - 1);
    }
  }

  #membersOf(group: number): number {
    return this.#members.get(group) ?? countOf(this.#statements.members, group);
  }

  #countUnits({ route, eventType, of, hour, units, diverged }: UnitCount): void {
    this.#statements.countUnits.run(route, eventType ?? '', of, hour, units, diverged);
  }

  /** What stands furthest from both ends of the largest groups goes first. */
  #evict(): void {
    const { rows, evictMembers, dropOrphans } = this.#statements;
    for (;;) {
      const kept = countOf(rows);
      const { maxRows, maxMb } = this.#limits;
      if (kept === 0 || (kept <= maxRows && this.#bytes() <= maxMb * MB)) return;
      this.#members.clear();
      evictMembers.run(Math.ceil(kept * EVICT_SHARE));
      dropOrphans.run();
    }
  }

  #bytes(): number {
    const { pages, freePages, pageSize } = this.#statements;
    const used = Number(pages.get()?.page_count) - Number(freePages.get()?.freelist_count);
    return used * Number(pageSize.get()?.page_size);
  }

  /** A full disk has made SQLite roll back already. */
  #rollBack(): void {
    this.#members.clear();
    if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
  }
}

/** The file can be opened, but what is in it does not fit together. */
export class DamagedFile extends Error {}

function countOf(statement: StatementSync, ...values: readonly (string | number)[]): number {
  return Number(statement.get(...values)?.n);
}

function statements(database: DatabaseSync) {
  const prepare = (text: string) => database.prepare(text);
  return {
    findGroup: prepare(`
      SELECT id FROM groups
      WHERE route = ? AND event_type = ? AND verdict = ? AND kind = ? AND path = ?`),
    groupsOfType: prepare('SELECT count(*) AS n FROM groups WHERE route = ? AND event_type = ?'),
    typesOfRoute: prepare('SELECT count(DISTINCT event_type) AS n FROM groups WHERE route = ?'),
    countGroup: prepare(`
      INSERT INTO groups (route, event_type, verdict, kind, path, count, first_at, last_at)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET
        count = count + excluded.count,
        first_at = min(first_at, excluded.first_at),
        last_at = max(last_at, excluded.last_at)
      RETURNING id`),
    addExample: prepare('INSERT INTO examples (at, finding) VALUES (?, ?)'),
    addMember: prepare('INSERT OR IGNORE INTO memberships (group_id, example_id) VALUES (?, ?)'),
    members: prepare('SELECT count(*) AS n FROM memberships WHERE group_id = ?'),
    middleMember: prepare(`
      SELECT example_id AS id FROM memberships WHERE group_id = ?
      ORDER BY example_id LIMIT 1 OFFSET ?`),
    dropMember: prepare('DELETE FROM memberships WHERE group_id = ? AND example_id = ?'),
    dropOrphan: prepare(`
      DELETE FROM examples WHERE id = ?
      AND NOT EXISTS (SELECT 1 FROM memberships WHERE example_id = ?)`),
    dropOrphans: prepare(`
      DELETE FROM examples WHERE id NOT IN (SELECT example_id FROM memberships)`),
    evictMembers: prepare(`
      DELETE FROM memberships WHERE (group_id, example_id) IN (
        SELECT group_id, example_id FROM (
          SELECT group_id, example_id,
            row_number() OVER (PARTITION BY group_id ORDER BY example_id) AS nth,
            row_number() OVER (PARTITION BY group_id ORDER BY example_id DESC) AS nth_last
          FROM memberships)
        ORDER BY min(nth, nth_last) DESC, nth_last DESC, example_id LIMIT ?)`),
    dropGroups: prepare('DELETE FROM groups WHERE last_at < ?'),
    dropExamples: prepare('DELETE FROM examples WHERE at < ?'),
    dropUnits: prepare('DELETE FROM units WHERE hour < ?'),
    countUnits: prepare(`
      INSERT INTO units (route, event_type, kind, hour, units, diverged) VALUES (?, ?, ?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET
        units = units + excluded.units,
        diverged = diverged + excluded.diverged`),
    rows: prepare('SELECT count(*) AS n FROM examples'),
    groups: prepare('SELECT count(*) AS n FROM groups'),
    pages: prepare('PRAGMA page_count'),
    freePages: prepare('PRAGMA freelist_count'),
    pageSize: prepare('PRAGMA page_size'),
  };
}
