// A real OpenID Connect provider: `node provider.mjs LIBRARY CONFIGURATION` (see provider.py).

import { readFileSync } from "node:fs";

const { Provider } = await import(process.argv[2]);
const { issuer, audience, keys, services, people, page } = JSON.parse(readFileSync(process.argv[3]));

const claimsOf = (id) => people[id] ?? {};
const resource = `${issuer}/opora`; // the library wants an address here; tokens name the audience

const provider = new Provider(issuer, {
  jwks: { keys },
  cookies: { keys: ["only-of-the-tests"] },
  clients: [
    ...services.map((id) => ({
      client_id: id,
      client_secret: id,
      token_endpoint_auth_method: "client_secret_post",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
    })),
    {
      client_id: "page",
      token_endpoint_auth_method: "none",
      redirect_uris: [page],
      application_type: "native",
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, ...claimsOf(sub) }) }),
  extraTokenClaims: (_, token) => claimsOf(token.accountId ?? token.clientId),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => resource,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: "ask",
        audience,
        accessTokenFormat: "jwt",
        accessTokenTTL: 600,
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
});
provider.use((context, next) => (console.log(context.path), next()));
provider.listen(new URL(issuer).port, "127.0.0.1", () => console.log("listens"));
