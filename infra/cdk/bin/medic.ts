// The CDK app: one stack, set up by context.

import { App } from 'aws-cdk-lib';
import { MedicStack } from '../lib/medic-stack';

const app = new App();
const parameters = app.node.tryGetContext('parameters');
new MedicStack(app, 'medic', {
  parameters: typeof parameters === 'string' ? JSON.parse(parameters) : parameters,
  bootstraps: app.node.tryGetContext('bootstraps'),
});
