// An instant as services write it: epoch seconds, epoch milliseconds, or ISO 8601.

/** Epoch seconds are below this until the year 5138, milliseconds above it since 1973. */
const LEAST_MILLISECONDS = 1e11;

/**
 * Epoch milliseconds, with a fraction for finer digits; `undefined` for anything that is no instant.
 * A text without a zone is UTC: what a reader makes of it must not hang on where he is.
 */
export function instantMs(value: unknown): number | undefined {
  if (typeof value === 'bigint') return instantMs(Number(value));
  if (typeof value === 'number') {
    return Math.abs(value) < LEAST_MILLISECONDS ? value * 1000 : value;
  }
  if (typeof value !== 'string') return undefined;
  // YYYY-MM-DD HH:MM:SS, with any character between date and time that may stand there.
  const separator = value.charCodeAt(10);
  if (value.length < 19 || value.length > 40 || (separator !== 84 && separator !== 32)) {
    return undefined;
  }
  const [year, month, day] = [digits(value, 0, 4), digits(value, 5, 2), digits(value, 8, 2)];
  const hour = digits(value, 11, 2);
  const [minute, second] = [digits(value, 14, 2), digits(value, 17, 2)];
  if (value.charCodeAt(4) !== 45 || value.charCodeAt(7) !== 45) return undefined;
  if (value.charCodeAt(13) !== 58 || value.charCodeAt(16) !== 58) return undefined;
  // Date.UTC would make 2 March of 30 February, and an instant of any six numbers.
  if (
    month < 1 ||
    month > 12 ||
    day < 1 ||
    day > daysIn(year, month) ||
    hour > 23 ||
    minute > 59 ||
    second > 60
  ) {
    return undefined;
  }
  let at = 19;
  let fraction = 0;
  if (value.charCodeAt(at) === 46) {
    let unit = 100;
    for (at++; isDigit(value.charCodeAt(at)); at++, unit /= 10) {
      fraction += (value.charCodeAt(at) - 48) * unit;
    }
  }
  const whole = Date.UTC(year, month - 1, day, hour, minute, second) - zoneMs(value, at);
  return Number.isNaN(whole) ? undefined : whole + fraction;
}

/** What stands behind the time: nothing, Z, +HH:MM, +HHMM or +HH. NaN for anything else. */
function zoneMs(value: string, at: number): number {
  const sign = value.charCodeAt(at);
  if (at === value.length || (sign === 90 && at + 1 === value.length)) return 0;
  if (sign !== 43 && sign !== 45) return Number.NaN;
  const hours = digits(value, at + 1, 2);
  const colon = value.charCodeAt(at + 3) === 58 ? 1 : 0;
  const left = value.length - at - 3 - colon;
  if (left !== 2 && (left !== 0 || colon === 1)) return Number.NaN;
  const minutes = left === 0 ? 0 : digits(value, at + 3 + colon, 2);
  return (sign === 45 ? -1 : 1) * (hours * 60 + minutes) * 60_000;
}

function daysIn(year: number, month: number): number {
  if (month !== 2) return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31;
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
}

/** NaN where something else stands. */
function digits(value: string, from: number, count: number): number {
  let number = 0;
  for (let at = from; at < from + count; at++) {
    const code = value.charCodeAt(at);
    if (!isDigit(code)) return Number.NaN;
    number = number * 10 + code - 48;
  }
  return number;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}
