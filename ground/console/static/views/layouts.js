// What is shown, kept under a name on the server for everybody; a layout is a view's link.
import { api, attempt, go, html, notice, route, useEffect, useLoad, useState } from "../lib.js";

export const layouts = () => api("GET", "/layouts");

export async function openLayout(name) {
  const found = await attempt(layouts);
  if (!found) return go("now", true);
  const body = found[name]?.body;
  if (!body) { go("now", true); notice.value = { text: `There is no layout "${name}".` }; return; }
  go(body, true);
}

export function OpenLayout({ rest }) {
  useEffect(() => { openLayout(decodeURIComponent(rest[0] ?? "")); }, [rest[0]]);
  return html`<p class="dim">…</p>`;
}

export function LayoutBar() {
  const [tick, setTick] = useState(0), [naming, setNaming] = useState(false), [name, setName] = useState(""), [said, say] = useState("");
  const [all] = useLoad(layouts, 0, [tick]);
  const save = async (event) => {
    event.preventDefault();
    if (!(await attempt(() => api("PUT", `/layouts/${encodeURIComponent(name)}`, { body: route.value })))) return;
    setNaming(false); setTick(tick + 1); say(`saved as ${name}`);
  };
  const share = async () => {
    const saved = Object.entries(all ?? {}).find(([, one]) => one.body === route.value);
    const link = `${location.origin}/${location.search}#${saved ? `layout/${encodeURIComponent(saved[0])}` : route.value}`;
    try { await navigator.clipboard.writeText(link); say("link copied"); } catch { say(link); }
  };
  return html`<span class="row" style="margin:0"><select aria-label="Layout" value="" onChange=${(e) => e.target.value && openLayout(e.target.value)}><option value="">Layouts</option>
      ${Object.entries(all ?? {}).map(([one, { owner }]) => html`<option value=${one}>${one} · ${owner}</option>`)}</select>
    ${naming ? html`<form onSubmit=${save}><input aria-label="Name of the layout" required maxlength="100" autofocus size="14" value=${name} onInput=${(e) => setName(e.target.value)} /> <button class="primary" type="submit">Save</button></form>`
      : html`<button onClick=${() => { setNaming(true); say(""); }}>Save layout…</button>`}
    <button onClick=${share}>Copy link</button>${said && html` <span class="dim" role="status">${said}</span>`}</span>`;
}
