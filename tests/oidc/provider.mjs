// A real OpenID provider for the tests: `node provider.mjs`, configured by one line of JSON on standard input.
// It writes `ready ISSUER` once it listens, and ends with its standard input.
import * as readline from 'node:readline';
import { Provider } from 'oidc-provider';

const lines = readline.createInterface({ input: process.stdin });
const settings = JSON.parse(await new Promise((resolve) => lines.once('line', resolve)));
lines.once('close', () => process.exit(0));

const issuer = `http://127.0.0.1:${settings.port}`;
const provider = new Provider(issuer, {
  clients: settings.clients,
  jwks: settings.jwks,
});
provider.listen(settings.port, '127.0.0.1', () => console.log(`ready ${issuer}`));
