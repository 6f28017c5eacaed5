// A real OpenID provider for the tests of sign-in: `node provider.mjs`, configured by one line of JSON on standard input:
// {port, clients, alg, jwks?, claims?}. A `port` of 0 is a free one. `jwks` has private keys; without it one of `alg` is made.
// `claims` are put into the access tokens of a client. It writes `ready PORT` once it listens, and ends with its standard input.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import * as readline from 'node:readline';
import { Provider } from 'oidc-provider';

const lines = readline.createInterface({ input: process.stdin });
const settings = JSON.parse(await new Promise((resolve) => lines.once('line', resolve)));
lines.once('close', () => process.exit(0));

const kinds = {
  EdDSA: ['ed25519', {}],
  ES256: ['ec', { namedCurve: 'P-256' }],
  RS256: ['rsa', { modulusLength: 2048 }],
};
const made = () => {
  const { privateKey } = generateKeyPairSync(...kinds[settings.alg]);
  return { keys: [{ ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: settings.alg, use: 'sig' }] };
};

// When the person signed in is in the code; an access token that a client gets for itself has none.
const signedIn = (ctx) => {
  const { AuthorizationCode, RefreshToken } = ctx.oidc.entities;
  const time = (AuthorizationCode ?? RefreshToken)?.authTime;
  return time === undefined ? {} : { auth_time: time };
};

const server = createServer();
await new Promise((resolve) => server.listen(settings.port, '127.0.0.1', resolve));
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  clients: settings.clients.map((client) => ({ id_token_signed_response_alg: settings.alg, ...client })),
  jwks: settings.jwks ?? made(),
  cookies: { keys: [randomUUID()] },
  enabledJWA: { idTokenSigningAlgValues: Object.keys(kinds) },
  pkce: { methods: ['S256'], required: () => true },
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, resource) => ({
        scope: 'decide',
        audience: resource,
        accessTokenFormat: 'jwt',
        jwt: { sign: { alg: settings.alg } },
      }),
    },
  },
  findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  extraTokenClaims: (ctx, token) => ({ ...signedIn(ctx), ...settings.claims?.[token.clientId] }),
});
provider.on('server_error', (_ctx, error) => console.error(error));
server.on('request', provider.callback());
console.log(`ready ${port}`);
