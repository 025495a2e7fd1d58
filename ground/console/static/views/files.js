// Files by CFDP: what goes up and comes down, how far it is, and starting, suspending, ending one.
import { api, attempt, clock, html, may, number, octets, span, stamp, until, useEffect, useLoad, useRef, useState } from "../lib.js";
import { now, owlt, windows } from "../live.js";

const LONGEST = 2 << 20;
const NAMES = { put: ["↑ up", "to the spacecraft"], get: ["↓ down", "asked for"], receive: ["↓ down", "sent by the spacecraft of itself"] };
const TAGS = { complete: "nominal", failed: "critical", cancelled: "warning" };
const last = (path) => path.split("/").at(-1);

async function base64(file) {
  const text = await new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result); reader.onerror = () => fail(reader.error);
    reader.readAsDataURL(file);
  });
  return text.slice(text.indexOf(",") + 1);
}

function Send({ done }) {
  const [file, setFile] = useState(null), [name, setName] = useState(""), [once, setOnce] = useState(false);
  const input = useRef(null);
  const send = async (event) => {
    event.preventDefault();
    const answer = await attempt(async () => api("POST", "/files", { name, content: await base64(file), class: once ? 1 : 2 }));
    if (answer) { setFile(null); setName(""); input.current.value = ""; done(); }
  };
  const long = file && file.size > LONGEST;
  return html`<section class="panel" aria-label="Send a file"><h2>Send to the spacecraft</h2><form onSubmit=${send}>
    <label class="field">File <input ref=${input} type="file" required onChange=${(e) => { const f = e.target.files[0]; setFile(f ?? null); if (f && !name) setName(f.name); }} /></label>
    <label class="field">Name on board <input required maxlength="255" placeholder="tables/limits.bin" value=${name} onInput=${(e) => setName(e.target.value)} /></label>
    <label><input type="checkbox" checked=${once} onChange=${(e) => setOnce(e.target.checked)} /> sent once, unacknowledged (class 1)</label>
    ${file && html`<p class=${long ? "critical" : "dim"}>${octets(file.size)}${long ? `: at most ${octets(LONGEST)} from the page; longer ones by "l4 file put"` : ""}</p>`}
    <div class="row"><button class="primary" type="submit" disabled=${!file || long}>Send file</button></div></form></section>`;
}

function Fetch({ done, focus }) {
  const [name, setName] = useState(""), [as, setAs] = useState("");
  const input = useRef(null);
  useEffect(() => { if (focus) input.current.focus(); }, [focus]);
  const fetch = async (event) => {
    event.preventDefault();
    if (await attempt(() => api("POST", "/files/fetch", { name, as }))) { setName(""); setAs(""); done(); }
  };
  return html`<section class="panel" aria-label="Fetch a file"><h2>Fetch from the spacecraft</h2><form onSubmit=${fetch}>
    <label class="field">Name on board <input ref=${input} required maxlength="255" list="onboard" placeholder="log/events.txt" value=${name} onInput=${(e) => setName(e.target.value)} /></label>
    <datalist id="onboard"><option value="log/events.txt">what happened on board</option></datalist>
    <label class="field">Name here <input maxlength="255" placeholder="as on board" value=${as} onInput=${(e) => setAs(e.target.value)} /></label>
    <div class="row"><button class="primary" type="submit">Ask for file</button></div></form></section>`;
}

// What is waited for, in light time.
function expected(f, t, light) {
  if (f.condition && f.condition !== "no_error") return f.condition.replaceAll("_", " ");
  if (f.ended_ms) return f.resent ? `${octets(f.resent)} sent again` : "";
  if (f.suspended) return "suspended: nothing is sent, its time stands still";
  const w = windows();
  if (f.what === "put" && f.progress < f.size && w.planned && !w.uplink) return w.nextUplink ? `waits for the uplink, ${until(w.nextUplink.uplink_from, t)}` : "waits for an uplink window";
  if (light === null) return "";
  const answer = f.started_ms + 2 * light;
  if (f.what === "get" && f.size < 0) return answer > t ? `first octets no sooner than ${clock(answer)}, ${until(answer, t)}` : "no octet heard yet";
  if (f.what === "put" && f.progress >= f.size) return `all sent; its answer is ${span(2 * light)} away`;
  return "";
}

export function Files({ rest }) {
  const [tick, setTick] = useState(0);
  const [files, error] = useLoad(() => api("GET", "/files"), 2000, [tick]);
  const t = now.value, light = owlt(), again = () => setTick(tick + 1);
  const act = async (f, step) => {
    if (step === "cancel" && !confirm(`End ${f.id}? What has arrived of it is thrown away.`)) return;
    if (await attempt(() => api("POST", `/files/${encodeURIComponent(f.id)}/${step}`))) again();
  };
  return html`${error && html`<p class="notice" role="alert">${error}</p>`}
    ${may("operator") && html`<div class="grid"><${Send} done=${again} /><${Fetch} done=${again} focus=${rest[0] === "fetch"} /></div>`}
    <section class="panel"><h2>Transfers</h2><table aria-label="Transfers"><thead><tr><th>id</th><th></th><th>on the ground</th><th>on board</th><th>state</th><th>octets</th><th>what next, or what became of it</th><th>began</th><th></th></tr></thead><tbody>
    ${(files ?? []).map((f) => { const going = !f.ended_ms && !TAGS[f.state]; return html`<tr key=${f.id}><td class="num">${f.id}</td>
      <td class="dim keep" title=${NAMES[f.what]?.[1]}>${NAMES[f.what]?.[0]}</td><td title=${f.ground_name}>${last(f.ground_name)}</td><td>${f.space_name}</td>
      <td><span class=${"tag " + (f.suspended && going ? "warning" : TAGS[f.state] ?? "")}>${f.suspended && going ? "suspended" : f.state}</span></td>
      <td class="num">${f.size < 0 ? "?" : html`<progress max=${f.size || 1} value=${f.size ? f.progress : 1} aria-label=${`${f.id}: ${number(f.progress)} of ${number(f.size)} octets`} /> ${octets(f.progress)} of ${octets(f.size)}`}</td>
      <td>${expected(f, t, light)}</td><td class="num" title=${stamp(f.started_ms)}>${clock(f.started_ms)}</td>
      <td class="keep">${f.path && html`<a href=${`/api/v1/files/${encodeURIComponent(f.id)}/content`} download=${last(f.path)}>Save ${last(f.path)}</a> `}
        ${may("operator") && going && html`${f.suspended ? html`<button onClick=${() => act(f, "resume")}>Resume</button> ` : html`<button onClick=${() => act(f, "suspend")}>Suspend</button> `}<button onClick=${() => act(f, "cancel")}>Cancel</button>`}</td></tr>`; })}</tbody></table>
    ${files?.length === 0 && html`<p class="dim">No file has gone either way.</p>`}</section>`;
}
