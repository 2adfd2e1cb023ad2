// Xenstore as a tree: nodes are read when they are opened, and again now and then while they are.
import { make, setText, ask } from "./text.js";

const again = 3000; // milliseconds
const openMax = 24; // nodes that are read again

export class Tree {
  constructor(root, search, found) {
    this.root = root;
    this.search = search;
    this.found = found;
    this.item = new Map(); // path → its element
    this.asked = 0;
    this.names = new Map(); // of domains, by their directory
    root.addEventListener("keydown", (e) => this.key(e));
    root.addEventListener("click", (e) => this.click(e));
    let timer;
    search.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.find(), 250);
    });
    search.addEventListener("keydown", (e) => {
      if (e.key === "Escape") {
        search.value = "";
        this.find();
      }
    });
    setInterval(() => this.refresh(), again);
  }

  // name says what domains are called.
  name(domains) {
    this.names = new Map(domains.map((d) => ["/local/domain/" + d.id, d.name]));
    for (const [path, li] of this.item) this.note(path, li);
  }

  note(path, li) {
    setText(li.querySelector(":scope > .row > .note"), this.names.get(path) ?? "");
  }

  // start shows the root, with the domains open.
  async start() {
    this.item.clear();
    this.root.replaceChildren();
    const top = this.add(this.root, { path: "/", name: "/", value: "", children: 1 }, 1);
    top.tabIndex = 0;
    for (const p of ["/", "/local", "/local/domain"]) {
      const li = this.item.get(p);
      if (li) await this.open(li, true);
    }
  }

  add(list, n, level) {
    const row = make("div", { class: "row" }, make("span", { class: "twist", "aria-hidden": "true" }), make("span", { class: "key" }, n.name), make("span", { class: "value" }), make("span", { class: "note" }));
    const li = make("li", { role: "treeitem", tabindex: "-1", "aria-level": String(level) }, row);
    li.dataset.path = n.path;
    this.item.set(n.path, li);
    this.note(n.path, li);
    this.put(li, n);
    list.append(li);
    return li;
  }

  // put shows what a node is now.
  put(li, n) {
    const value = li.querySelector(":scope > .row > .value");
    if (value.textContent !== n.value) {
      if (value.textContent !== "" || li.dataset.seen) {
        li.classList.remove("changed");
        void li.offsetWidth; // the animation begins anew
        li.classList.add("changed");
      }
      value.textContent = n.value;
    }
    li.dataset.seen = "1";
    if (n.children > 0) {
      if (!li.hasAttribute("aria-expanded")) li.setAttribute("aria-expanded", "false");
    } else if (!li.querySelector(":scope > ul")) li.removeAttribute("aria-expanded");
    this.twist(li);
  }

  twist(li) {
    setText(li.querySelector(":scope > .row > .twist"), { true: "▾", false: "▸" }[li.getAttribute("aria-expanded")] ?? "");
  }

  async open(li, quietly) {
    if (!li.hasAttribute("aria-expanded")) return;
    li.setAttribute("aria-expanded", "true");
    this.twist(li);
    try {
      this.fill(li, await ask("node", { path: li.dataset.path }));
    } catch (e) {
      if (!quietly) setText(this.found, e.message);
      this.close(li);
    }
  }

  // fill shows a node's children as they are now, and keeps those that are there.
  fill(li, n) {
    let list = li.querySelector(":scope > ul");
    if (!list) li.append((list = make("ul", { role: "group" })));
    const level = Number(li.getAttribute("aria-level")) + 1;
    const there = new Map([...list.children].filter((c) => c.dataset.path).map((c) => [c.dataset.path, c]));
    const kids = (n.kids ?? []).sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    for (const k of kids) {
      const old = there.get(k.path);
      there.delete(k.path);
      if (old) this.put(old, k);
      else this.add(list, k, level);
    }
    for (const gone of there.values()) this.drop(gone);
    list.querySelector(":scope > .more")?.remove();
    if (n.more) list.append(make("li", { class: "more facts", role: "none" }, `… of ${n.children}`));
    const value = li.querySelector(":scope > .row > .value");
    if (n.value !== value.textContent) this.put(li, { value: n.value, children: n.children });
    if (!kids.length) {
      list.remove();
      li.removeAttribute("aria-expanded");
      this.twist(li);
    }
  }

  drop(li) {
    for (const x of [li, ...li.querySelectorAll("[data-path]")]) this.item.delete(x.dataset.path);
    if (li.contains(document.activeElement)) this.focus(li.parentElement.closest("[role=treeitem]"));
    li.remove();
  }

  close(li) {
    li.setAttribute("aria-expanded", "false");
    const list = li.querySelector(":scope > ul");
    if (list) {
      for (const x of list.querySelectorAll("[data-path]")) this.item.delete(x.dataset.path);
      list.remove();
    }
    this.twist(li);
  }

  async refresh() {
    if (document.hidden || this.search.value) return;
    const open = [...this.root.querySelectorAll("[aria-expanded=true]")].slice(0, openMax);
    for (const li of open) {
      if (!li.isConnected) continue;
      try {
        this.fill(li, await ask("node", { path: li.dataset.path }));
      } catch {
        if (li.dataset.path !== "/") this.drop(li); // it is gone, or the host is: the next look tells
      }
    }
  }

  async find() {
    const text = this.search.value.trim();
    const number = ++this.asked;
    if (!text) {
      setText(this.found, "");
      return this.start();
    }
    try {
      const r = await ask("find", { text });
      if (number !== this.asked) return;
      this.item.clear();
      this.root.replaceChildren();
      for (const n of r.found) this.add(this.root, { ...n, name: n.path }, 1);
      if (this.root.firstElementChild) this.root.firstElementChild.tabIndex = 0;
      setText(this.found, r.found.length ? `${r.found.length}${r.more ? " and more" : ""} found` : "nothing has that");
    } catch (e) {
      if (number === this.asked) setText(this.found, e.message);
    }
  }

  visible() {
    return [...this.root.querySelectorAll("[role=treeitem]")];
  }

  focus(li) {
    if (!li) return;
    for (const x of this.root.querySelectorAll("[tabindex='0']")) x.tabIndex = -1;
    li.tabIndex = 0;
    li.focus();
  }

  toggle(li) {
    if (li.getAttribute("aria-expanded") === "true") this.close(li);
    else this.open(li);
  }

  click(e) {
    const li = e.target.closest("[role=treeitem]");
    if (!li) return;
    this.focus(li);
    this.toggle(li);
  }

  key(e) {
    const li = e.target.closest("[role=treeitem]");
    if (!li || e.ctrlKey || e.altKey || e.metaKey) return;
    const all = this.visible(), at = all.indexOf(li), open = li.getAttribute("aria-expanded");
    switch (e.key) {
      case "ArrowDown": this.focus(all[at + 1]); break;
      case "ArrowUp": this.focus(all[at - 1]); break;
      case "Home": this.focus(all[0]); break;
      case "End": this.focus(all.at(-1)); break;
      case "ArrowRight":
        if (open === "false") this.open(li);
        else if (open === "true") this.focus(li.querySelector("[role=treeitem]"));
        break;
      case "ArrowLeft":
        if (open === "true") this.close(li);
        else this.focus(li.parentElement.closest("[role=treeitem]"));
        break;
      case "Enter": case " ": this.toggle(li); break;
      default: return;
    }
    e.preventDefault();
  }
}
