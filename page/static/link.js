// A link to our page in the bar of Locust's. React draws the bar anew at times: then the link is put back.
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
  new MutationObserver(place).observe(document.getElementById("root"), { childList: true, subtree: true });
  place();
}
