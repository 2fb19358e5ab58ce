// Amounts as people read them; the same as `fogline show` prints.

const PREFIXES = ["", "k", "M", "G", "T", "P"];

function scaled(amount, unit) {
  let scale = 0;
  while (Math.abs(amount) >= 999.5 && scale < PREFIXES.length - 1) {
    amount /= 1000;
    scale += 1;
  }
  const digits = scale === 0 ? 0 : amount >= 100 ? 0 : 1;
  return `${amount.toFixed(digits)} ${PREFIXES[scale]}${unit}`;
}

export const bytes = (amount) => scaled(amount, "B");

export const joules = (amount) =>
  Math.abs(amount) >= 1 || amount === 0 ? scaled(amount, "J") : `${(1000 * amount).toPrecision(3)} mJ`;

export function seconds(amount) {
  if (!Number.isFinite(amount)) return "?";
  if (amount < 60) return amount >= 0.1 || amount === 0 ? `${amount.toFixed(1)} s` : `${(1000 * amount).toPrecision(3)} ms`;
  const total = Math.round(amount);
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = units.findIndex(([, size]) => total >= size);
  const [name, size] = units[first];
  const next = units[first + 1];
  const rest = next ? Math.floor((total % size) / next[1]) : 0;
  return `${Math.floor(total / size)} ${name}${rest ? ` ${rest} ${next[0]}` : ""}`;
}

export const number = (value) => value.toLocaleString("en");

export const isShare = (name) => name.includes("accuracy") || name === "attack_success";

export function metric(name, value, unit = "") {
  if (value === null || value === undefined) return "–";
  if (isShare(name)) return `${(100 * value).toFixed(2)} %`;
  return `${Number(value.toPrecision(4))}${unit ? ` ${unit}` : ""}`;
}

export const when = (unix) => new Date(1000 * unix).toLocaleString("sv");
