// Recommend and RecommendStream from Node, with grpc-js and the protos as they are: npm install && npm start

import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const root = process.env.BACKDROP_ROOT ?? path.join(import.meta.dirname, "..", "..");
const target = process.env.BACKDROP_TARGET ?? "127.0.0.1:50050";
const library = process.env.BACKDROP_LIBRARY ?? "samples";
const photo = process.argv[2] ?? path.join(root, "samples", "products", "coffee-mug.jpg");

const definition = await loader.load("backdrop/gateway/v1/gateway.proto", {
  includeDirs: [path.join(root, "protos"), path.join(root, "protos", "third_party")],
  enums: String, longs: Number, defaults: true,
});
const { GatewayService } = grpc.loadPackageDefinition(definition).backdrop.gateway.v1;

// Answers with pictures may be larger than what gRPC takes by default.
const client = new GatewayService(target, grpc.credentials.createInsecure(), { "grpc.max_receive_message_length": 72 * 2 ** 20 });
const metadata = new grpc.Metadata();
if (process.env.BACKDROP_API_KEY) metadata.set("x-api-key", process.env.BACKDROP_API_KEY);
const options = () => ({ deadline: Date.now() + 30_000 });

const request = { parent: `libraries/${library}`, image: await readFile(photo), limit: 3, preview: { preset: "PRESET_PORTRAIT" } };

const answer = await new Promise((resolve, reject) =>
  client.recommend(request, metadata, options(), (error, response) => (error ? reject(error) : resolve(response))));
for (const { background, score, reason } of answer.recommendations) console.log(score.toFixed(2), background.name, reason);
for (const { message } of answer.degraded) console.log("degraded:", message);
const [best] = answer.previews;
if (best) {
  await writeFile("preview.jpg", best.image);
  console.log(`preview.jpg: ${best.width} x ${best.height}${best.cutOut.rough ? `, look closely: ${best.cutOut.reason}` : ""}`);
}

// Stage by stage, as each is done.
const stages = [];
for await (const { stage } of client.recommendStream({ request }, metadata, options())) stages.push(stage);
console.log(stages.join(" > "));

// An error has a code and a sentence that says what to do.
await new Promise((resolve) =>
  client.recommend({ ...request, limit: 1000 }, metadata, options(), (error) => {
    console.log(grpc.status[error.code], error.details);
    resolve();
  }));
client.close();
