// Uses the generated types as a caller would: it must compile, and the line that expects an error must have one.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

const medic = createClient<paths>({ baseUrl: "http://127.0.0.1:8080" });

export async function team(name: string): Promise<components["schemas"]["TeamView"]> {
  const { data, error } = await medic.POST("/v2/teams", { body: { name } });
  if (error !== undefined) {
    throw new Error(error.message);
  }
  return data.results;
}

export async function late(): Promise<string[]> {
  const { data } = await medic.GET("/v2/services", { params: { query: { limit: 250 } } });
  return (data?.results.items ?? []).filter((service) => service.down).map((service) => service.heartbeat_name);
}

// @ts-expect-error: a heartbeat needs a status.
void medic.POST("/heartbeat", { body: { heartbeat_name: "checkout" } });
