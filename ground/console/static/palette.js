// Ctrl K: everything by name, without a mouse.
import { api, attempt, html, may, session, useEffect, useRef, useState } from "./lib.js";
import { alarms, names } from "./live.js";

// Asked for once: the next time it is there at once.
let known = [], kept = [];

// What may be done next with a request that is on the stack.
function waiting(r) {
  if (r.state === "queued") return ["arm"];
  if (r.state === "approved" || (r.state === "armed" && !r.hazard)) return ["send"];
  return r.state === "armed" && may("approver") && r.armed_by !== session.value.name ? ["approve"] : [];
}

export function Palette({ views, close, theme, wall, signOut }) {
  const [text, setText] = useState("");
  const [at, setAt] = useState(0);
  const [steps, setSteps] = useState([]), [dictionary, setDictionary] = useState(known), [saved, setSaved] = useState(kept);
  const input = useRef(null);
  useEffect(() => {
    input.current.focus();
    api("GET", "/commands").then((found) => { known = found; setDictionary(found); }).catch(() => {});
    if (may("operator")) api("GET", "/requests?last=60").then(setSteps).catch(() => {});
    api("GET", "/layouts").then((found) => { kept = Object.keys(found); setSaved(kept); }).catch(() => {});
  }, []);
  const go = (where) => () => (location.hash = where);
  const all = [
    ...views.map(([id, label]) => ["View", label, go(id)]),
    ...(may("operator") ? alarms.value.filter((a) => ["unacknowledged", "returned"].includes(a.state))
      .map((a) => ["Acknowledge", a.name, () => attempt(() => api("POST", `/alarms/${encodeURIComponent(a.name)}/acknowledge`))]) : []),
    ...steps.flatMap((r) => waiting(r).map((step) => [step[0].toUpperCase() + step.slice(1), `${r.number} ${r.command}`, async () => {
      if (await attempt(() => api("POST", `/requests/${r.number}/${step}`))) location.hash = "commands";
    }])),
    ...(may("operator") ? [["Pass", "Plan a pass, what if", go("passes/plan")], ["File", "Send a file to the spacecraft", go("files")],
      ["File", "Fetch a file from the spacecraft", go("files/fetch")]] : []),
    ...(may("operator") ? dictionary.map((c) => ["Command", c.name, go(`commands/new/${c.name}`)]) : []),
    ...names.value.map((n) => ["Plot", n, go(`plots/${n}`)]),
    ...saved.map((n) => ["Layout", n, go(`layout/${encodeURIComponent(n)}`)]),
    ["Page", "Dark or light", theme], ["Page", "Wall display on or off", wall], ["Page", "Sign out", signOut],
  ];
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  // What acts on the spacecraft wants its verb: nobody sends by taking the first that is found.
  const said = ([kind]) => !["Arm", "Send", "Approve"].includes(kind) || words.includes(kind.toLowerCase());
  const found = all.filter(said).filter(([kind, label]) => words.every((w) => `${kind} ${label}`.toLowerCase().includes(w))).slice(0, 12);
  const run = (one) => { close(); one[2](); };
  const key = (event) => {
    if (event.key === "ArrowDown") setAt(Math.min(at + 1, found.length - 1));
    else if (event.key === "ArrowUp") setAt(Math.max(at - 1, 0));
    else if (event.key === "Enter" && found[at]) run(found[at]);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  };
  return html`<div class="veil" onClick=${close}><div class="palette" role="dialog" aria-label="Command palette" onClick=${(e) => e.stopPropagation()}>
    <input ref=${input} role="combobox" aria-expanded="true" aria-controls="found" aria-label="View, command, parameter or alarm"
      placeholder="View, command, parameter, alarm" value=${text} onKeyDown=${key} onInput=${(e) => { setText(e.target.value); setAt(0); }} />
    <ul id="found" role="listbox" aria-label="Found">${found.map((one, i) => html`<li role="option" aria-selected=${i === at} onClick=${() => run(one)}>
      <span class="dim">${one[0]}</span> ${one[1]}</li>`)}</ul></div></div>`;
}
