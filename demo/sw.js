// Keeps the page's files, so that it works offline after the first visit. build.mjs writes VERSION
// and FILES above. Larger models are kept when they are first used.

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));
self.addEventListener("fetch", (event) => {
  const isOurs = event.request.method === "GET" && event.request.url.startsWith(self.registration.scope);
  if (isOurs) event.respondWith(respond(event.request));
});

async function install() {
  const cache = await caches.open(VERSION);
  await cache.addAll(FILES);
  await self.skipWaiting();
}

async function activate() {
  for (const key of await caches.keys()) {
    if (key.startsWith("fer-") && key !== VERSION) await caches.delete(key);
  }
  await self.clients.claim();
}

async function respond(request) {
  const cache = await caches.open(VERSION);
  const kept = await cache.match(request, { ignoreSearch: true });
  if (kept) return kept;
  const response = await fetch(request);
  if (response.ok) await cache.put(request, response.clone());
  return response;
}
