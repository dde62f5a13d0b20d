// Numbers as text: three digits and a suitable unit.

const DIGITS = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const NONE = "–";

export function number(value) {
  if (value === null || value === undefined) return NONE;
  return Math.abs(value) >= 100 ? WHOLE.format(value) : DIGITS.format(value);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return NONE;
  if (seconds < 1) return `${number(seconds * 1000)} ms`;
  return `${number(seconds)} s`;
}

export function share(value) {
  return value === null || value === undefined ? NONE : `${number(100 * value)} %`;
}

// 95 gives 1:35.
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

// A point in time of this browser's day, to the minute: 2026-07-01 14:03.
export function moment(text) {
  const when = new Date(text);
  if (Number.isNaN(when.getTime())) return NONE;
  const two = (value) => String(value).padStart(2, "0");
  return `${when.getFullYear()}-${two(when.getMonth() + 1)}-${two(when.getDate())} ${two(when.getHours())}:${two(when.getMinutes())}`;
}
