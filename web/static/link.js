// A link to our page in the bar of Locust's. React redraws the bar at times; then the link is inserted again.
{
  const address = document.currentScript.src.replace(/assets\/link\.js.*$/, "");
  const link = document.createElement("a");
  link.href = address;
  link.id = "tokenswarm-link";
  link.textContent = "Tokens";
  link.style.cssText =
    "margin-right:16px;padding:6px 16px;border-radius:4px;border:1px solid currentColor;color:inherit;" +
    "font:500 .875rem/1.75 Roboto,Helvetica,Arial,sans-serif;text-decoration:none;white-space:nowrap";
  const group = document.createElement("div");
  group.style.cssText = "display:flex;align-items:center";
  group.append(link);
  if ("logout" in document.currentScript.dataset) {
    const form = document.createElement("form");
    const button = document.createElement("button");
    form.method = "post";
    form.action = `${address}logout`;
    form.id = "tokenswarm-logout";
    button.textContent = "Log out";
    button.style.cssText = link.style.cssText + "background:none;cursor:pointer";
    form.append(button);
    group.append(form);
  }
  const place = () => {
    const bar = document.querySelector("header");
    const right = bar?.querySelector("button:not(#tokenswarm-logout button)")?.parentElement;
    if (right && !group.isConnected) right.prepend(group);
  };
  // Locust's start form begins with a number of users, which only the free shape uses: else a note says what will run, and
  // the fields are shown on request.
  let note = null;
  let isHidden = false;
  const users = () => [...document.querySelectorAll("input[name=userCount], input[name=spawnRate]")];
  const explain = () => {
    const form = document.querySelector("input[name=userCount]")?.closest("form");
    if (!form || !note) return;
    if (!note.isConnected) form.prepend(note);
    for (const field of users()) (field.closest(".MuiFormControl-root") ?? field).style.display = isHidden ? "none" : "";
  };
  const showUsers = () => {
    isHidden = false;
    note.querySelector("button").replaceWith("Change the number of users, the ramp up or the run time to run just these.");
    explain();
    users()[0]?.focus();
  };
  const usersButton = () => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Run a number of users instead";
    button.style.cssText = "padding:0;border:0;background:none;color:inherit;font:inherit;text-decoration:underline;cursor:pointer";
    button.addEventListener("click", showUsers);
    return button;
  };
  const describe = async () => {
    const [groups, { plan }] = await Promise.all(["form.json", "plan.json"].map(async (name) => (await fetch(address + name)).json()));
    const fields = Object.fromEntries(groups.flatMap((group) => group.fields).map((field) => [field.name, field.value]));
    note = document.createElement("p");
    note.id = "tokenswarm-plan";
    note.style.cssText = "margin:0 0 16px;padding:8px 12px;border-left:4px solid #15803d;font:400 .875rem/1.5 Roboto,Helvetica,Arial,sans-serif";
    const form = "among the custom parameters or on the page Tokens.";
    const runs = `Start runs ${plan || "what the custom parameters say"}. `;
    const notes = {
      ladder: `${runs}The levels are ${form}`,
      free: "Start runs the number of users below (shape free). For the ladder, choose it as shape or change its levels, " + form,
      open: `${runs}It is an open loop, without users: this page then shows requests in flight as its number of users. The rate is ${form}`,
      capacity: `${runs}The search is ${form}`,
    };
    note.textContent = notes[fields.shape];
    isHidden = fields.shape !== "free";
    if (isHidden) note.append(" ", usersButton());
    explain();
  };
  describe().catch(() => {}); // without the note, the form is Locust's own
  new MutationObserver(() => { place(); explain(); }).observe(document.getElementById("root"), { childList: true, subtree: true });
  place();
}
