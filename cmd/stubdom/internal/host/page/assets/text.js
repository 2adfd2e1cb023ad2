// How figures are written, and elements made. What comes from the host is only ever text.

export function make(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (v === undefined || v === null) continue;
    if (k in e && typeof v !== "string") e[k] = v;
    else e.setAttribute(k === "className" ? "class" : k, v);
  }
  e.append(...children);
  return e;
}

export function svg(tag, props = {}) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [k, v] of Object.entries(props)) e.setAttribute(k, v);
  return e;
}

export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

export function size(v) {
  if (!v) return "0";
  let i = 0;
  for (; v >= 1024 && i < 4; i++) v /= 1024;
  return (v >= 100 || i === 0 ? v.toFixed(0) : v.toFixed(1)) + " " + ["B", "KiB", "MiB", "GiB", "TiB"][i];
}

export function rate(v) {
  if (!v) return "0";
  if (v < 1) return "<1";
  return v < 10000 ? v.toFixed(0) : (v / 1000).toFixed(0) + "k";
}

export function time(seconds) {
  if (!seconds) return "";
  if (seconds < 1e-3) return (seconds * 1e6).toFixed(0) + " µs";
  if (seconds < 1) return (seconds * 1e3).toFixed(1) + " ms";
  return seconds.toFixed(1) + " s";
}

export async function ask(path, params) {
  const r = await fetch(path + "?" + new URLSearchParams(params));
  if (!r.ok) throw new Error((await r.text()).trim());
  return r.json();
}
