// The page of a host: what comes in events is shown by the parts.
import { make, svg, setText, size, rate, time, ask } from "./text.js";
import { Picture } from "./picture.js";
import { Volumes } from "./volumes.js";
import { Tree } from "./tree.js";

const $ = (id) => document.getElementById(id);
const picture = new Picture($("picture"), choose);
const volumes = new Volumes($("groups"));
const tree = new Tree($("tree"), $("search"), $("found"));

let snapshot = null;
let chosen = null; // the domain that is shown below, by the reader's choice
let shown = null; // the one that is

function choose(id) {
  chosen = chosen === id ? null : id;
  picture.choose(chosen);
  domain();
}

// The totals, each with what it was in the last minute.
const history = 60;
class Total {
  constructor(name, kind, write) {
    this.write = write;
    this.past = [];
    this.figure = make("dd", {}, "–");
    this.line = svg("polyline", { class: "spark" });
    const chart = svg("svg", { viewBox: "0 0 74 22", preserveAspectRatio: "none", "aria-hidden": "true" });
    chart.append(this.line);
    const figures = make("div", { class: kind }, make("dt", {}, name), this.figure, chart);
    $("totals").append(figures);
  }

  add(v) {
    this.past.push(v);
    if (this.past.length > history) this.past.shift();
    setText(this.figure, this.write(v));
    const most = Math.max(...this.past, 1);
    this.line.setAttribute("points", this.past.map((p, i) =>
      `${(74 * (history - this.past.length + i)) / (history - 1)},${(20.5 - (19 * p) / most).toFixed(1)}`).join(" "));
  }
}
const totals = {
  requests: new Total("disk requests/s", "block", rate),
  bytes: new Total("disk bytes/s", "block", size),
  store: new Total("xenstore operations/s", "store", rate),
};

function show(s) {
  snapshot = s;
  setText($("host"), s.host + ", " + s.domains.length + " domains");
  // What guests ask for: the storage domain's own disk has the same bytes again.
  const guests = new Set(s.domains.filter((d) => d.role === "guest").map((d) => d.id));
  const disks = s.rings.filter((r) => r.kind === "block" && guests.has(r.front));
  totals.requests.add(disks.reduce((n, r) => n + r.perSec.requests, 0));
  totals.bytes.add(disks.reduce((n, r) => n + r.perSec.read + r.perSec.written, 0));
  totals.store.add(s.store.perSec);
  setText($("problems"), (s.problems ?? []).join("; "));
  $("problems").hidden = !s.problems?.length;
  if (chosen !== null && !s.domains.some((d) => d.id === chosen)) chosen = null;
  picture.chosen = chosen;
  picture.show(s);
  volumes.show(s);
  tree.name(s.domains);
  domain();
}

// domain shows the chosen domain, or the first guest: its rings, and the end of its console.
function domain() {
  if (!snapshot) return;
  const d = snapshot.domains.find((x) => x.id === chosen) ?? snapshot.domains.find((x) => x.role === "guest") ?? snapshot.domains[0];
  if (!d) return;
  setText($("domain-title"), d.name || "Domain " + d.id);
  setText($("domain-facts"), [`id ${d.id}`, d.role, d.state, size(d.memoryKiB * 1024), d.cpu ? d.cpu.toFixed(1) + " s of CPU" : ""].filter(Boolean).join(" · "));
  rings(d);
  if (shown !== d.id) {
    shown = d.id;
    pinned = true;
    $("console").textContent = "";
  }
  tail(d);
}

function rings(d) {
  const name = (id) => snapshot.domains.find((x) => x.id === id)?.name || "domain " + id;
  const mine = snapshot.rings.filter((r) => r.front === d.id || r.back === d.id);
  const body = $("rings").tBodies[0];
  while (body.rows.length > mine.length) body.deleteRow(-1);
  mine.forEach((r, i) => {
    const row = body.rows[i] ?? body.insertRow();
    row.className = r.kind;
    while (row.cells.length < 5) row.insertCell();
    const other = r.front === d.id ? "to " + name(r.back) : "from " + name(r.front);
    const what = r.kind === "block" ? r.device + (r.front === d.id ? "" : " of " + name(r.front)) + (r.target ? ", " + r.target : "") : r.kind + " " + other;
    [what, rate(r.perSec.requests), r.kind === "xenstore" ? "" : size(r.perSec.read), r.kind === "xenstore" ? "" : size(r.perSec.written), time(r.latency)]
      .forEach((text, c) => setText(row.cells[c], text));
  });
}

// The console stays at its end until somebody scrolls up.
let pinned = true;
$("console").addEventListener("scroll", (e) => (pinned = e.target.scrollTop + e.target.clientHeight >= e.target.scrollHeight - 24));
new ResizeObserver(([e]) => pinned && (e.target.scrollTop = e.target.scrollHeight)).observe($("console"));

let tailing = false;
async function tail(d) {
  if (tailing || document.hidden) return;
  const box = $("console");
  if (!d.console.served) {
    setText(box, "no console of this domain is served here");
    return;
  }
  tailing = true;
  try {
    const t = await ask("console", { domain: d.id });
    if (shown === t.domain) {
      const end = pinned;
      setText(box, (t.lines ?? []).join("\n"));
      if (end) box.scrollTop = box.scrollHeight;
    }
  } catch (e) {
    setText(box, e.message);
  } finally {
    tailing = false;
  }
}

const storyMax = 100;
function words(list) {
  const story = $("story");
  const end = story.scrollTop + story.clientHeight >= story.scrollHeight - 24;
  for (const w of list) {
    const at = new Date(w.at);
    story.append(make("li", { class: w.kind }, make("time", { datetime: at.toISOString() }, at.toLocaleTimeString([], { hour12: false })), make("span", {}, w.text)));
  }
  while (story.children.length > storyMax) story.firstElementChild.remove();
  if (end) story.scrollTop = story.scrollHeight;
}

function link(state, text) {
  $("link").className = "link " + state;
  setText($("link"), text);
}

const events = new EventSource("events");
events.addEventListener("open", () => {
  link("live", "live");
  $("story").replaceChildren(); // all of it comes again
  tree.start();
});
events.addEventListener("error", () => link("lost", "the host does not answer; trying again"));
events.addEventListener("snapshot", (e) => show(JSON.parse(e.data)));
events.addEventListener("words", (e) => words(JSON.parse(e.data)));
events.addEventListener("failure", (e) => link("lost", JSON.parse(e.data)));
events.addEventListener("snapshot", () => link("live", "live"));

document.addEventListener("keydown", (e) => {
  if (e.key === "/" && !/^(INPUT|TEXTAREA)$/.test(e.target.tagName) && !e.ctrlKey && !e.metaKey && !e.altKey) {
    e.preventDefault();
    $("search").focus();
  }
  if (e.key === "Escape" && chosen !== null && e.target.id !== "search") choose(chosen);
});
