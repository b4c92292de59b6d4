// How numbers, times and versions are written.
const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
const DECIMAL = { "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12, P: 1e15 };
const FACTORS = { ...DECIMAL, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40, Pi: 2 ** 50 };

export function bytes(number) {
  const power = number < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(number) / 10));
  const scaled = number / 1024 ** power;
  return `${power === 0 || scaled >= 100 ? Math.round(scaled) : scaled.toFixed(1)} ${UNITS[power]}`;
}

// The bytes of a Kubernetes quantity; null when it is not one.
export function quantity(text) {
  const found = /^([0-9.]+)([a-zA-Z]*)$/.exec(text ?? "");
  const factor = found && FACTORS[found[2]];
  return factor ? Number(found[1]) * factor : null;
}

export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const two = (large, first, small, second) => `${large}\u00a0${first}${small ? ` ${small}\u00a0${second}` : ""}`;
  if (whole < 60) return `${whole}\u00a0s`;
  if (whole < 3600) return two(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86400) return two(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
  return two(Math.floor(whole / 86400), "d", Math.floor((whole % 86400) / 3600), "h");
}

// A time that is left, as a clock shows it.
export function countdown(seconds) {
  const whole = Math.max(0, Math.ceil(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

export const since = (time) => (Date.now() - Date.parse(time)) / 1000;

export function ago(time) {
  const seconds = since(time);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)}\u00a0min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)}\u00a0h ago`;
  return new Date(time).toLocaleDateString(undefined, { year: "numeric", month: "short", day: "numeric" });
}

export const exactly = (time) => new Date(time).toLocaleString();

export const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const counted = (number, noun, plural = `${noun}s`) => `${number} ${number === 1 ? noun : plural}`;

// The digest of a version, as short as it is shown.
export const digest = (version) => (version ? version.slice(version.lastIndexOf(":") + 1) : "");
