// From the stack to the last report: arguments, arm, approve, send, and where each command is.
import { api, attempt, clock, html, may, session, until, useEffect, useLoad, useState } from "../lib.js";
import { commands as changes, now } from "../live.js";

const ENDED = ["completed", "failed", "expired", "removed"];

// As the terminal has them: a letter for each stage, a mark for how it went; the words are the title's and the legend's.
const LETTERS = { radiated: ["T", "transmitted by the station"], received: ["F", "its frame taken by FARM-1 on board (CLCW)"], acceptance: ["A", "accepted (PUS 1.1, 1.2)"],
  start: ["S", "execution begun (1.3, 1.4)"], progress: ["P", "a step of it done (1.5, 1.6)"], completion: ["C", "completed (1.7, 1.8)"] };
const MARKS = { passed: "✓", pending: "·", overdue: "?", failed: "✗" };

function Steps({ stages }) {
  return html`<div class="steps">${stages.map((s) => html`<span class=${"step " + s.state} title=${`${s.name}: ${s.state}${s.detail ? `, ${s.detail}` : ""}`} aria-label=${`${s.name} ${s.state}`}>${LETTERS[s.name]?.[0] ?? s.name}${MARKS[s.state] ?? ""}</span>`)}</div>`;
}

function Legend() {
  return html`<details class="legend"><summary>Stages: ${Object.entries(LETTERS).map(([name, [letter]]) => html`<span><b>${letter}</b> ${name}</span> `)} · ${Object.entries(MARKS).map(([state, mark]) => html`<span><b class=${"step " + state}>${mark}</b> ${state}</span> `)}</summary>
    <ul>${Object.values(LETTERS).map(([letter, text]) => html`<li><b>${letter}</b> ${text}</li>`)}</ul></details>`;
}

// A hazardous command that waits for another person; said where it is looked at, and to whom.
function Approval({ requests }) {
  const waiting = (requests ?? []).filter((r) => r.state === "armed" && r.hazard);
  if (!waiting.length) return null;
  const me = session.value.name;
  return html`<section class="panel approval" role="status" aria-label="Approval needed"><h2><span class="tag warning">APPROVAL NEEDED</span> A second person must approve before these can be sent</h2>
    <ul>${waiting.map((r) => html`<li><b>${r.number} ${r.command}</b> ${Object.entries(r.arguments).map(([k, v]) => `${k}=${v}`).join(" ")}: ${r.hazard}. Armed by ${r.armed_by}. ${r.armed_by === me ? "You armed it: ask somebody else with the role approver." : may("approver") ? "You may approve it." : "You have not the role: ask an approver."}</li>`)}</ul></section>`;
}

function next(r, t) {
  if (r.state === "queued") return "arm it";
  if (r.state === "armed") return r.hazard ? `a second person approves, not ${r.armed_by}` : "send it";
  if (r.state === "approved") return "send it";
  if (r.state === "held") return r.reason;
  if (r.state === "waiting") return r.earliest_ms > t ? `leaves ${until(r.earliest_ms, t)}` : r.violations.join("; ") || "for its turn and an uplink window";
  if (r.state === "radiated" && r.at_spacecraft_ms > t) return `at the spacecraft ${until(r.at_spacecraft_ms, t)}`;
  const pending = r.stages.find((s) => s.state === "pending");
  if (pending && !ENDED.includes(r.state)) return pending.opens_ms > t ? `${pending.name} due ${until(pending.opens_ms, t)}` : `${pending.name} expected, overdue ${until(pending.closes_ms, t)}`;
  return r.reason;
}

const POSSIBLE = { queued: ["arm", "remove"], armed: ["send", "approve", "reject", "disarm", "remove"], approved: ["send", "reject", "disarm", "remove"],
  waiting: ["remove"], held: ["arm", "remove"], unknown: ["close"], completed: ["repeat"], failed: ["repeat"], expired: ["repeat"] };

function Buttons({ r, done }) {
  const act = async (step) => {
    let body;
    if (step === "close" || step === "reject") {
      const reason = prompt(step === "close" ? "What is known of it?" : "Why not?");
      if (reason === null) return;
      body = { reason };
    }
    if (await attempt(() => api("POST", `/requests/${r.number}/${step}`, body))) done();
  };
  const steps = (POSSIBLE[r.state] ?? []).filter((s) => {
    if (s === "send" && r.hazard && r.state !== "approved") return false;
    if (s === "approve") return r.hazard && may("approver") && r.armed_by !== session.value.name;
    if (s === "reject") return may("approver");
    return may("operator");
  });
  return html`${steps.map((s) => html`<button class=${s === "send" ? "danger" : s === "arm" || s === "approve" ? "primary" : ""} onClick=${() => act(s)}>${s[0].toUpperCase() + s.slice(1)}</button> `)}`;
}

function New({ name, done }) {
  const [dictionary] = useLoad(() => api("GET", "/commands"), 0);
  const [chosen, choose] = useState(name ?? ""), [values, setValues] = useState({}), [when, setWhen] = useState(""), [expedited, setExpedited] = useState(false), [comment, setComment] = useState("");
  useEffect(() => { if (name) choose(name); }, [name]);
  const command = dictionary?.find((c) => c.name === chosen);
  const add = async (e) => {
    e.preventDefault();
    const given = Object.fromEntries(Object.entries(values).filter(([k, v]) => v !== "" && command.arguments.some((a) => a.name === k)));
    if (await attempt(() => api("POST", "/requests", { command: chosen, arguments: given, earliest: when, expedited, comment }))) { setValues({}); setComment(""); done(); }
  };
  return html`<section class="panel" aria-label="New command"><h2>New command</h2><form onSubmit=${add}>
    <label class="field">Command <input list="dictionary" required value=${chosen} onInput=${(e) => choose(e.target.value.toUpperCase())} /></label>
    <datalist id="dictionary">${(dictionary ?? []).map((c) => html`<option value=${c.name}>${c.description}</option>`)}</datalist>
    ${command && html`<p>${command.description}</p>
      ${command.hazard && html`<p><span class="tag critical">HAZARD</span> ${command.hazard}; a second person approves</p>`}
      ${command.constraints.map((c) => html`<p class="dim">only if ${c}</p>`)}
      ${command.arguments.map((a) => html`<label class="field"><span>${a.name}<div class="dim">${a.description}</div></span>
        ${a.labels.length && !a.list ? html`<select required value=${values[a.name] ?? ""} onChange=${(e) => setValues({ ...values, [a.name]: e.target.value })}><option value="" disabled>choose</option>${a.labels.map((l) => html`<option>${l}</option>`)}</select>`
          : html`<input required=${a.default === null} placeholder=${a.default ?? ""} title=${a.allowed} value=${values[a.name] ?? ""} onInput=${(e) => setValues({ ...values, [a.name]: e.target.value })} />`}
        <span></span><span class="dim">${a.list ? "list, with commas: " : ""}${a.allowed}</span></label>`)}`}
    <label class="field">Not before <input placeholder="UTC, or +10min; now" value=${when} onInput=${(e) => setWhen(e.target.value)} /></label>
    <label class="field">Why <input value=${comment} onInput=${(e) => setComment(e.target.value)} /></label>
    <label><input type="checkbox" checked=${expedited} onChange=${(e) => setExpedited(e.target.checked)} /> expedited (type BD)</label>
    <div class="row"><button class="primary" disabled=${!command || !may("operator")}>Put on the stack</button></div></form></section>`;
}

function Detail({ number, stamp: at }) {
  const [r] = useLoad(() => api("GET", `/requests/${number}`), 2000, [number, at]);
  const t = now.value;
  if (!r) return null;
  return html`<section class="panel" aria-label=${`Request ${number}`}><h2>${r.number} ${r.command} <span class="dim">${r.state}</span></h2>
    ${r.radiated_ms > 0 && html`<p>radiated ${clock(r.radiated_ms)}${r.station ? ` by ${r.station}` : ""} · <b>at the spacecraft ${clock(r.at_spacecraft_ms)}, ${until(r.at_spacecraft_ms, t)}</b> · reply due by ${clock(r.reply_due_ms)}, ${until(r.reply_due_ms, t)}</p>`}
    <table aria-label="Stages"><thead><tr><th>stage</th><th></th><th>answer</th><th>expected from</th><th>overdue at</th><th></th></tr></thead><tbody>
      ${r.stages.map((s) => html`<tr><td>${s.name}</td><td><span class=${"step " + s.state}>${s.state}</span></td><td class="num">${clock(s.time_ms)}</td><td class="num">${clock(s.opens_ms)}</td><td class="num">${clock(s.closes_ms)}</td><td>${s.state === "pending" && s.opens_ms > t ? until(s.opens_ms, t) : s.detail}</td></tr>`)}</tbody></table>
    ${r.octets && html`<p class="hex">${r.octets.replace(/(..)/g, "$1 ")}</p>`}
    <table aria-label="History"><tbody>${r.history.map((e) => html`<tr><td class="num">${clock(e.time_ms)}</td><td>${e.actor}</td><td>${e.event}</td><td>${e.state}</td><td>${e.text}</td></tr>`)}</tbody></table></section>`;
}

export function Commands({ rest }) {
  const [chosen, choose] = useState(null);
  const [tick, setTick] = useState(0);
  const newest = changes.value.at(-1);
  const [requests, error] = useLoad(() => api("GET", "/requests?last=60"), 2000, [tick, newest?.time, newest?.event]);
  const [cop] = useLoad(() => api("GET", "/cop1"), 2000, [newest?.time]);
  const t = now.value, again = () => setTick(tick + 1);
  const direct = async (directive) => { if (await attempt(() => api("POST", "/cop1", { directive }))) again(); };
  const link = cop?.link;
  return html`${error && html`<p class="notice" role="alert">${error}</p>`}
    <div class="grid two">
    <div class="stack"><${New} name=${rest[0] === "new" ? rest[1] : ""} done=${again} />
      ${link && html`<section class="panel" aria-label="COP-1"><h2>COP-1</h2><p><span class=${"tag " + (link.state === "ACTIVE" ? "nominal" : "warning")}>${link.state.toLowerCase().replaceAll("_", " ")}</span>${" "}
        V(S) ${link.vs}, ${link.outstanding} of ${link.window} frames unanswered</p>
        ${link.clcw ? html`<p class=${link.clcw.lockout ? "critical" : "dim"}>CLCW of ${until(link.clcw.ert_ms, t)}: N(R) ${link.clcw.report_value}${link.clcw.lockout ? ", LOCKOUT" : ""}</p>` : html`<p class="dim">no CLCW heard yet</p>`}
        ${may("operator") && html`<div class="row">${link.clcw?.lockout && html`<button class="danger" onClick=${() => direct("unlock")}>Unlock</button>`}
          ${link.state === "INITIAL" ? html`<button onClick=${() => direct("initiate")}>Initiate</button>` : html`<button onClick=${() => direct("terminate")}>Terminate</button>`}</div>`}</section>`}</div>
    <div><${Approval} requests=${requests} /><section class="panel"><h2>Requests</h2><${Legend} /><table aria-label="Requests"><thead><tr><th>#</th><th>command</th><th>state</th><th>stages</th><th>what next</th><th>by</th><th></th></tr></thead><tbody>
      ${(requests ?? []).slice().reverse().map((r) => html`<tr key=${r.number} class=${chosen === r.number ? "on" : ""} tabindex="0" onClick=${() => choose(r.number)} onKeyDown=${(e) => e.key === "Enter" && e.target.tagName === "TR" && choose(r.number)}>
        <td class="num">${r.number}</td><td>${r.command} <span class="dim">${Object.entries(r.arguments).map(([k, v]) => `${k}=${v}`).join(" ")}</span>${r.hazard && html` <span class="tag critical">HAZARD</span>`}</td>
        <td><span class=${"tag " + (r.state === "completed" ? "nominal" : ["failed"].includes(r.state) ? "critical" : ["held", "unknown", "armed", "approved"].includes(r.state) ? "warning" : "")}>${r.state}</span></td>
        <td><${Steps} stages=${r.stages} /></td><td class="next">${r.state === "armed" && r.hazard ? html`<span class="tag warning">APPROVAL NEEDED</span> ` : ""}${next(r, t)}</td><td>${r.sent_by || r.armed_by || r.actor}</td>
        <td onClick=${(e) => e.stopPropagation()}><${Buttons} r=${r} done=${again} /></td></tr>`)}</tbody></table></section>
      ${chosen && html`<${Detail} number=${chosen} stamp=${newest?.time} />`}</div></div>`;
}
