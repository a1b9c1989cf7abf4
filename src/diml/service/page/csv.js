// Tables for spreadsheets.

// A text that a spreadsheet would take for a formula gets a quote in front of it.
const safe = (text) => (/^[=+\-@\t\r]/.test(text) ? "'" + text : text);

function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  const text = safe(String(value));
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// Rows of values as CSV in UTF-8, with the mark by which spreadsheets recognise it.
export function csv(rows) {
  return new Blob(["\ufeff", ...rows.map((row) => row.map(cell).join(",") + "\r\n")], { type: "text/csv;charset=utf-8" });
}
