// Volumes as a map: each disk's extents in order, coloured by the volume that has them.
import { make, setText, size } from "./text.js";

const cellsMax = 512;
const redoLog = "mlvm_log";

export class Volumes {
  constructor(root) {
    this.root = root;
    this.shown = "";
    this.colours = new Map(); // group/volume → number
    this.pinned = "";
  }

  show(snapshot) {
    const text = JSON.stringify([snapshot.groups, snapshot.domains.map((d) => [d.id, d.name])]);
    if (text === this.shown) return;
    this.shown = text;
    if (!snapshot.groups.length) {
      this.root.replaceChildren(make("p", { class: "none" }, "no volume group is served"));
      return;
    }
    const focused = document.activeElement?.dataset?.volume;
    this.root.replaceChildren(...snapshot.groups.map((g) => this.group(g, snapshot)));
    if (focused) [...this.root.querySelectorAll("button")].find((b) => b.dataset.volume === focused)?.focus();
    this.mark(this.pinned);
  }

  colour(name) {
    if (!this.colours.has(name)) this.colours.set(name, this.colours.size % 6);
    return "v" + this.colours.get(name);
  }

  group(g, snapshot) {
    const name = (id) => snapshot.domains.find((d) => d.id === id)?.name ?? "domain " + id;
    const free = g.disks.reduce((n, d) => n + d.runs.filter((r) => !r.volume).reduce((m, r) => m + r.count, 0), 0);
    const part = make("div", {});
    for (const d of g.disks) {
      part.append(make("div", { class: "disk" },
        make("p", {}, `${g.name} on ${d.name}, served by ${name(g.owner)}: ${d.extents} extents of ${size(g.extent)}, ${size(free * g.extent)} free`),
        this.map(g, d)));
    }
    const list = make("ul", { class: "volumes", "aria-label": "Volumes of " + g.name });
    for (const v of g.volumes) {
      const b = make("button", { type: "button", "aria-pressed": "false" },
        make("i", { class: this.colour(g.name + "/" + v.name), "aria-hidden": "true" }), make("b", {}, v.name),
        make("span", {}, size(v.extents * g.extent) + (v.user >= 0 ? ", disk of " + name(v.user) : v.name === redoLog ? ", the group's redo log" : ", not attached")));
      b.dataset.volume = g.name + "/" + v.name;
      b.addEventListener("mouseenter", () => this.mark(b.dataset.volume));
      b.addEventListener("mouseleave", () => this.mark(this.pinned));
      b.addEventListener("click", () => {
        this.pinned = this.pinned === b.dataset.volume ? "" : b.dataset.volume;
        this.mark(this.pinned);
      });
      list.append(make("li", {}, b));
    }
    part.append(list);
    return part;
  }

  // map is a disk in cells, of as many extents each as it takes to have no more than cellsMax.
  map(g, d) {
    const each = Math.max(1, Math.ceil(d.extents / cellsMax));
    const map = make("div", { class: "map", role: "img", "aria-label": d.runs.map((r) => `${r.count} extents ${r.volume || "free"}`).join(", ") });
    let run = 0;
    for (let at = 0; at < d.extents; at += each) {
      while (run < d.runs.length && d.runs[run].start + d.runs[run].count <= at) run++;
      const r = d.runs[run];
      const volume = r && r.start < at + each && r.volume ? r.volume : "";
      const cell = make("i", { title: `extent ${at}${each > 1 ? "–" + (at + each - 1) : ""}: ${volume || "free"}` });
      if (volume) {
        cell.className = this.colour(g.name + "/" + volume);
        cell.dataset.volume = g.name + "/" + volume;
      }
      map.append(cell);
    }
    return map;
  }

  mark(volume) {
    for (const m of this.root.querySelectorAll(".map")) {
      m.classList.toggle("one", volume !== "");
      for (const c of m.children) c.classList.toggle("on", c.dataset.volume === volume);
    }
    for (const b of this.root.querySelectorAll("button")) b.setAttribute("aria-pressed", String(b.dataset.volume === this.pinned && volume !== ""));
  }
}
