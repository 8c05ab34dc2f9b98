// The stack that template.yaml describes, with the built bootstraps as its functions' code.

import { existsSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { Stack, Validations, type StackProps } from 'aws-cdk-lib';
import { Asset } from 'aws-cdk-lib/aws-s3-assets';
import { CfnFunction } from 'aws-cdk-lib/aws-sam';
import { CfnInclude } from 'aws-cdk-lib/cloudformation-include';
import type { Construct } from 'constructs';

const REPOSITORY = resolve(__dirname, '../../../..');

export interface MedicStackProps extends StackProps {
  /** Values for the template's parameters, by name. What is not here stays a CloudFormation parameter. */
  readonly parameters?: Record<string, string | number | boolean>;
  /** Holds a folder with a `bootstrap` for each function: the repository's target/lambda unless given. */
  readonly bootstraps?: string;
}

export class MedicStack extends Stack {
  constructor(scope: Construct, id: string, props: MedicStackProps = {}) {
    super(scope, id, props);
    Validations.of(this).acknowledge(
      { id: 'CloudFormation-Validate::F3033', reason: 'AlarmTopicArn is used only when it is not empty.' },
      { id: 'CloudFormation-Validate::W2509', reason: 'Secrets and SecretsVersion name a secret and hold none.' },
      { id: 'CloudFormation-Validate::W8003', reason: 'An override decides a condition.' },
    );
    const template = new CfnInclude(this, 'Template', {
      templateFile: join(REPOSITORY, 'template.yaml'),
      parameters: props.parameters,
    });
    const bootstraps = props.bootstraps ?? join(REPOSITORY, 'target/lambda');
    for (const resource of template.node.findAll()) {
      if (resource instanceof CfnFunction) {
        useBootstrap(resource, bootstraps);
        keepLoneOnFailure(resource);
      }
    }
  }
}

/** Replaces a CodeUri such as functions/ingest by the asset of the bootstrap in the folder `ingest`. */
function useBootstrap(target: CfnFunction, bootstraps: string): void {
  const folder = join(bootstraps, basename(target.codeUri as string));
  if (!existsSync(join(folder, 'bootstrap'))) {
    throw new Error(`${folder}/bootstrap is missing: run make build-lambda first`);
  }
  const code = new Asset(target, 'Code', { path: folder });
  target.codeUri = { bucket: code.s3BucketName, key: code.s3ObjectKey };
}

/** CDK refuses an OnFailure without an OnSuccess, which SAM allows. What is an override is not checked. */
function keepLoneOnFailure(target: CfnFunction): void {
  const config = target.eventInvokeConfig as CfnFunction.EventInvokeConfigProperty | undefined;
  const destinations = config?.destinationConfig as CfnFunction.EventInvokeDestinationConfigProperty | undefined;
  if (destinations && !destinations.onSuccess) {
    const { type, destination } = destinations.onFailure as CfnFunction.DestinationProperty;
    target.eventInvokeConfig = { ...config, destinationConfig: undefined };
    target.addPropertyOverride('EventInvokeConfig.DestinationConfig.OnFailure', { Type: type, Destination: destination });
  }
}
