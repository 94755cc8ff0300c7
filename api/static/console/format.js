// How times and numbers are written.

export function clock(moment) {
  if (!moment) return "";
  const date = new Date(moment);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString() : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

export function seconds(value) {
  if (value == null || Number.isNaN(value)) return "";
  if (value < 60) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(value / 60);
  return minutes < 60 ? `${minutes} min ${Math.round(value % 60)} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function between(one, other) {
  return one && other ? Math.max(0, (Date.parse(other) - Date.parse(one)) / 1000) : null;
}

export function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
