// The filters of MQTT (version 5.0, section 4.7): `+` stands for one level, `#`, at the end, for any number of them.

const MOST_LEVELS = 8;
const MOST_BYTES = 128;
const LEVEL = /^[A-Za-z0-9._-]+$/;

/** What is wrong with a filter, or `null`. */
export function faultOf(filter: string): string | null {
  const levels = filter.split('/');
  if (levels.length > MOST_LEVELS || filter.length > MOST_BYTES) {
    return `the filter ${JSON.stringify(filter)} has more than ${MOST_LEVELS} levels or ${MOST_BYTES} bytes`;
  }
  const fine = levels.every((level, i) => level === '+' || LEVEL.test(level) || (level === '#' && i === levels.length - 1));
  return fine ? null : `${JSON.stringify(filter)} is no filter: write it as in cpu/# or +/temperature`;
}

/** Whether a filter selects the channel of this name. */
export function matches(filter: string, name: string): boolean {
  const wanted = filter.split('/');
  const levels = name.split('/');
  for (const [i, level] of wanted.entries()) {
    if (level === '#') return true;
    if (i >= levels.length || (level !== '+' && level !== levels[i])) return false;
  }
  return wanted.length === levels.length;
}
