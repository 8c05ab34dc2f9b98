// Synthesises the stack with stubs for bootstraps, and compares it with the text of template.yaml.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { App } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { MedicStack } from '../lib/medic-stack';

const CDK = resolve(__dirname, '../..');
const SOURCE = readFileSync(join(CDK, '../../template.yaml'), 'utf8');

const scratch = mkdtempSync(join(tmpdir(), 'medic-cdk-'));
after(() => rmSync(scratch, { recursive: true }));

const bootstraps = join(scratch, 'bootstraps');
for (const [, name] of SOURCE.matchAll(/CodeUri: functions\/(\w+)/g)) {
  mkdirSync(join(bootstraps, name), { recursive: true });
  writeFileSync(join(bootstraps, name, 'bootstrap'), name, { mode: 0o755 });
}

suite('the stack', () => {
  const outdir = join(scratch, 'assembly');
  const template = Template.fromStack(new MedicStack(new App({ outdir }), 'medic', { bootstraps }));

  test('has the resources of template.yaml, and no others', () => {
    assert.deepEqual(types(template.toJSON().Resources), typesInSource('Resources'));
  });

  test('has the parameters of template.yaml', () => {
    const { BootstrapVersion, ...parameters } = template.toJSON().Parameters;
    assert.deepEqual(types(parameters), typesInSource('Parameters'));
  });

  test('runs each function from the asset of its bootstrap', () => {
    const functions = template.findResources('AWS::Serverless::Function');
    assert.notDeepEqual(functions, {});
    const { files } = readJson(join(outdir, 'medic.assets.json'));
    for (const { Properties, Metadata } of Object.values(functions)) {
      const { source } = files[Properties.CodeUri.Key.replace('.zip', '')];
      assert.equal(source.packaging, 'zip');
      const bootstrap = join(outdir, source.path, 'bootstrap');
      assert.equal(readFileSync(bootstrap, 'utf8'), Metadata.BuildProperties.Binary);
      assert.equal(statSync(bootstrap).mode & 0o111, 0o111);
    }
  });

  test('keeps the events that sweep could not handle', () => {
    template.hasResourceProperties('AWS::Serverless::Function', {
      EventInvokeConfig: {
        MaximumRetryAttempts: 0,
        DestinationConfig: { OnFailure: { Type: 'SQS', Destination: { 'Fn::GetAtt': 'SweepDeadLetters.Arn' } } },
      },
    });
  });

  test('is refused while a bootstrap is missing', () => {
    const missing = join(scratch, 'missing');
    assert.throws(() => new MedicStack(new App(), 'medic', { bootstraps: missing }), /run make build-lambda first/);
  });
});

suite('the CDK CLI', () => {
  test('writes overrides into the template', async () => {
    const template = await synth({ SlackChannelId: 'C123', WorkerTimeoutSeconds: 20, AllowPrivateHosts: true });
    const { SLACK_CHANNEL_ID, MEDIC_ALLOW_PRIVATE_HOSTS, MEDIC_SLACK_API_URL } =
      template.toJSON().Globals.Function.Environment.Variables;
    assert.equal(SLACK_CHANNEL_ID, 'C123');
    assert.equal(MEDIC_ALLOW_PRIVATE_HOSTS, true);
    assert.deepEqual(MEDIC_SLACK_API_URL, { Ref: 'SlackApiUrl' });
    template.resourcePropertiesCountIs('AWS::Serverless::Function', { Timeout: 20 }, 2);
    assert.deepEqual(template.findParameters('SlackChannelId'), {});
  });

  test('refuses an override of what is no parameter, and names it', async () => {
    await assert.rejects(synth({ SlackChanelId: 'C123' }), /Parameter with logical ID 'SlackChanelId' was not found/);
  });
});

async function synth(parameters: object): Promise<Template> {
  const output = mkdtempSync(join(scratch, 'cli-'));
  const context = ['--context', `parameters=${JSON.stringify(parameters)}`, '--context', `bootstraps=${bootstraps}`];
  await promisify(execFile)('npx', ['cdk', 'synth', '--quiet', '--output', output, ...context], { cwd: CDK });
  return Template.fromJSON(readJson(join(output, 'medic.template.json')));
}

function readJson(path: string) {
  return JSON.parse(readFileSync(path, 'utf8'));
}

function types(section: Record<string, { Type: string }>): Record<string, string> {
  return Object.fromEntries(Object.entries(section).map(([name, { Type }]) => [name, Type]));
}

/** Reads the text rather than the YAML, so that nothing here depends on the parser that is tested. */
function typesInSource(section: string): Record<string, string> {
  const [, text] = SOURCE.match(new RegExp(`^${section}:\\n((?: .*\\n|\\n)+)`, 'm'))!;
  return Object.fromEntries([...text.matchAll(/^  (\w+):\n    Type: (\S+)$/gm)].map(([, name, type]) => [name, type]));
}
