// The picture: a box for each domain, and a line for each ring, on which dots run as fast as bytes do.
import { make, svg, setText, size, rate } from "./text.js";

const kinds = ["console", "block", "xenstore"]; // from left to right at a box's edge
const services = ["consoles", "storage", "xenstore"];

export class Picture {
  constructor(root, select) {
    this.root = root;
    this.lines = root.querySelector("svg");
    this.boxes = root.querySelector("#boxes");
    this.select = select;
    this.box = new Map(); // domain → its button
    this.line = new Map(); // ring → its group of paths
    this.snapshot = null;
    this.chosen = null;
    new ResizeObserver(() => this.draw()).observe(root);
    this.boxes.addEventListener("keydown", (e) => this.key(e));
  }

  show(snapshot) {
    this.snapshot = snapshot;
    this.draw();
  }

  choose(id) {
    this.chosen = id;
    this.draw();
  }

  // rows are the domains as they stand: guests, services, dom0.
  rows() {
    const of = (f) => this.snapshot.domains.filter(f);
    const middle = of((d) => services.includes(d.role)).sort((a, b) => services.indexOf(a.role) - services.indexOf(b.role) || a.id - b.id);
    return [of((d) => d.role === "guest"), middle, of((d) => d.role === "dom0")].filter((r) => r.length);
  }

  draw() {
    if (!this.snapshot) return;
    const width = this.root.clientWidth;
    const narrow = width < 560;
    const gap = narrow ? 8 : 28, height = narrow ? 64 : 72, rise = narrow ? 62 : 84;
    const place = new Map();
    let y = 2;
    for (const row of this.rows()) {
      const most = Math.max(1, Math.floor((width + gap) / ((narrow ? 96 : 168) + gap)));
      for (let from = 0; from < row.length; from += most) {
        const part = row.slice(from, from + most);
        const w = Math.min(narrow ? 160 : 230, (width - gap * (part.length - 1)) / part.length);
        const spread = Math.min(narrow ? gap : 130, part.length > 1 ? (width - w * part.length) / (part.length - 1) : 0);
        let x = (width - w * part.length - spread * (part.length - 1)) / 2;
        for (const d of part) {
          place.set(d.id, { x, y, w, h: height });
          x += w + spread;
        }
        y += height + (from + most < row.length ? 14 : rise);
      }
    }
    this.root.style.height = Math.max(0, y - rise + 4) + "px";
    this.drawBoxes(place);
    this.drawLines(place, narrow);
  }

  drawBoxes(place) {
    for (const [id, b] of this.box) {
      if (!place.has(id)) {
        b.remove();
        this.box.delete(id);
      }
    }
    for (const d of this.snapshot.domains) {
      const p = place.get(d.id);
      if (!p) continue;
      let b = this.box.get(d.id);
      if (!b) {
        b = make("button", { type: "button" }, make("span", { class: "name" }), make("span", { class: "what" }), make("span", { class: "now" }));
        b.addEventListener("click", () => this.select(d.id));
        this.box.set(d.id, b);
        this.boxes.append(b);
      }
      const bad = ["crashed", "dying"].includes(d.state);
      b.className = "box " + d.role + (p.w < 120 ? " tiny" : "") + (bad ? " bad" : ["paused", "shut down"].includes(d.state) ? " paused" : "");
      Object.assign(b.style, { left: p.x + "px", top: p.y + "px", width: p.w + "px", height: p.h + "px" });
      b.setAttribute("aria-pressed", String(d.id === this.chosen));
      const [name, what, now] = b.children;
      if (!name.firstElementChild) name.append(make("span", { class: "dot" }), "");
      const label = d.name || "domain " + d.id;
      if (name.lastChild.nodeValue !== label) name.lastChild.nodeValue = label;
      const narrow = p.w < 150;
      setText(what, (narrow ? "" : d.role === "dom0" || d.role === "guest" ? d.role + " · " : "") + "id " + d.id + (narrow ? "" : (d.memoryKiB ? " · " + size(d.memoryKiB * 1024) : "") + (d.generation > 1 ? " · start " + d.generation : "")));
      setText(now, this.now(d, narrow));
      b.setAttribute("aria-label", `${label}, ${d.role}, ${d.state}, ${now.textContent}`);
    }
  }

  // now is what a domain does at the moment, in a few words.
  now(d, narrow) {
    const sum = (f) => this.snapshot.rings.filter(f).reduce((s, r) => s + r.perSec.requests, 0);
    switch (d.role) {
      case "xenstore": return rate(this.snapshot.store.perSec) + (narrow ? " ops/s" : " operations/s");
      case "consoles": return rate(this.snapshot.domains.reduce((s, x) => s + x.console.lineSec, 0)) + " lines/s";
      case "storage": return rate(sum((r) => r.kind === "block" && r.back === d.id)) + (narrow ? " req/s" : " requests/s");
      default: return rate(sum((r) => r.kind === "block" && (d.role === "dom0" ? r.back : r.front) === d.id)) + (narrow ? " req/s" : " requests/s");
    }
  }

  drawLines(place, narrow) {
    const seen = new Set();
    this.lines.setAttribute("viewBox", `0 0 ${this.root.clientWidth} ${this.root.clientHeight}`);
    for (const r of this.snapshot.rings) {
      const a = place.get(r.front), b = place.get(r.back);
      if (!a || !b || r.front === r.back) continue;
      const key = [r.kind, r.front, r.back, r.device].join(":");
      seen.add(key);
      let g = this.line.get(key);
      if (!g) {
        g = svg("g");
        g.append(svg("path", { class: "ring" }), svg("path", { class: "flow" }), svg("path", { class: "flow back" }), svg("text", { class: "label" }));
        this.line.set(key, g);
        this.lines.append(g);
      }
      const faded = this.chosen !== null && r.front !== this.chosen && r.back !== this.chosen;
      g.setAttribute("class", r.kind + (faded ? " faded" : ""));
      const { d, mid } = this.path(a, b, r);
      const traffic = r.kind === "block" ? r.perSec.read + r.perSec.written : r.perSec.requests * 200;
      const [ring, out, back, label] = g.children;
      for (const p of [ring, out, back]) p.setAttribute("d", d);
      ring.style.strokeWidth = String(1.5 + Math.min(8, Math.log2(1 + traffic / 16384)));
      this.flow(out, r.kind === "block" ? r.perSec.written : r.kind === "xenstore" ? r.perSec.requests * 200 : r.perSec.written);
      this.flow(back, r.kind === "block" ? r.perSec.read : r.kind === "xenstore" ? r.perSec.requests * 200 : 0);
      label.setAttribute("x", mid.x);
      label.setAttribute("y", mid.y);
      setText(label, !narrow && r.kind === "block" ? rate(r.perSec.requests) + " req/s · " + size(traffic) + "/s" : "");
    }
    for (const [key, g] of this.line) {
      if (!seen.has(key)) {
        g.remove();
        this.line.delete(key);
      }
    }
    // Labels lie above all lines: block rings come last.
    for (const [key, g] of this.line) if (key.startsWith("block") && g.nextSibling && !g.nextSibling.getAttribute("class").startsWith("block")) this.lines.append(g);
  }

  // flow sets how fast dots run: by steps, because an animation whose time changes jumps.
  flow(path, bytes) {
    path.style.opacity = bytes > 0 ? "0.9" : "0";
    const step = Math.min(5, Math.max(0, Math.floor(Math.log2(1 + bytes / 4096) / 2)));
    const time = ["3.2s", "2.2s", "1.5s", "1s", "0.7s", "0.5s"][step];
    if (path.style.animationDuration !== time) path.style.animationDuration = time;
  }

  // path is a curve between two boxes, from edge to edge.
  path(a, b, r) {
    const shift = (kinds.indexOf(r.kind) - 1) * Math.min(26, a.w / 5);
    if (a.y === b.y) { // neighbours
      const right = b.x > a.x, next = Math.abs(b.x - a.x) < a.w * 2.4;
      const y = a.y + a.h / 2 + (r.kind === "xenstore" ? 10 : -10);
      const x1 = right ? a.x + a.w : a.x, x2 = right ? b.x : b.x + b.w;
      if (next) return { d: `M${x1} ${y}L${x2} ${y}`, mid: { x: (x1 + x2) / 2, y: y - 8 } };
      const dip = a.y + a.h + 26, f = a.x + a.w / 2 + (right ? 34 : -34), t = b.x + b.w / 2 + (right ? -34 : 34);
      return { d: `M${f} ${a.y + a.h}C${f} ${dip} ${t} ${dip} ${t} ${b.y + b.h}`, mid: { x: (f + t) / 2, y: dip } };
    }
    const down = b.y > a.y;
    const x1 = a.x + a.w / 2 + shift, y1 = down ? a.y + a.h : a.y;
    // At the far end lines come in side by side.
    const x2 = b.x + b.w / 2 + Math.max(-b.w / 3, Math.min(b.w / 3, (a.x + a.w / 2 - b.x - b.w / 2) / 6)) + (down ? shift / 3 : 0);
    const y2 = down ? b.y : b.y + b.h;
    const bend = (y2 - y1) * 0.55;
    return { d: `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}`, mid: { x: (x1 + x2) / 2, y: (y1 + y2) / 2 + 4 } };
  }

  key(e) {
    const move = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
    if (!move) return;
    const all = this.rows().flat().map((d) => this.box.get(d.id));
    const at = all.indexOf(document.activeElement);
    if (at < 0) return;
    e.preventDefault();
    all[(at + move + all.length) % all.length].focus();
  }
}
