"""Serving as it is first written: stock open_clip, one request after another. `python -m ...one_at_a_time PORT`."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import grpc
import torch
from PIL import Image

from backdrop.captioner.v1 import captioner_pb2 as pb
from backdrop.captioner.v1.captioner_pb2_grpc import CaptionerServiceServicer, add_CaptionerServiceServicer_to_server
from chassis.networks.device import choose_device, choose_dtype
from chassis.networks.torchvision_ops import define_missing_torchvision_ops
from services.captioner.config import CaptionerConfig

define_missing_torchvision_ops()

import open_clip  # noqa: E402


class OneAtATimeServicer(CaptionerServiceServicer):
    """Reads the request's own categories. The weights and their precision are the captioner's, from its environment."""

    def __init__(self, config: CaptionerConfig) -> None:
        architecture, _, weights = config.model.removeprefix("open_clip:").partition(":")
        self._device = choose_device(config.device)
        self._dtype = choose_dtype(config.precision, self._device)
        model, self._transform = open_clip.create_model_from_pretrained(architecture, pretrained=weights)
        self._model = model.eval().to(self._device, self._dtype)
        self._tokenizer = open_clip.get_tokenizer(architecture)
        self._embed_labels = lru_cache(self._embed_labels_anew)

    @torch.inference_mode()
    def ExtractFeatures(  # noqa: N802
        self, request: pb.ExtractFeaturesRequest, context: grpc.ServicerContext
    ) -> pb.ExtractFeaturesResponse:
        """Decodes the whole photo and runs the model on it alone."""
        pixels = self._transform(Image.open(io.BytesIO(request.image)))
        photo = self._normalise(self._model.encode_image(pixels[None].to(self._device, self._dtype)))
        return pb.ExtractFeaturesResponse(
            features=[self._read(photo, category) for category in request.categories],
            embedding=pb.Embedding(values=photo[0].tolist(), model="one-at-a-time"),
        )

    def _read(self, photo: torch.Tensor, category: pb.CustomCategory) -> pb.Feature:
        labels = self._embed_labels(tuple(category.labels), tuple(category.templates))
        confidences = (float(self._model.logit_scale.exp()) * photo @ labels.T).softmax(dim=1)[0].tolist()
        best = max(range(len(confidences)), key=confidences.__getitem__)
        return pb.Feature(
            category=category.name, labels=[pb.Label(name=category.labels[best], confidence=confidences[best])]
        )

    def _embed_labels_anew(self, labels: tuple[str, ...], templates: tuple[str, ...]) -> torch.Tensor:
        texts = [[template.format(label) for template in templates or ("{}",)] for label in labels]
        rows = [self._model.encode_text(self._tokenizer(each).to(self._device)).mean(dim=0) for each in texts]
        return self._normalise(torch.stack(rows))

    @staticmethod
    def _normalise(rows: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(rows.float(), dim=1)


def main() -> None:
    """Serves until it is stopped."""
    server = grpc.server(ThreadPoolExecutor(max_workers=1))
    servicer = OneAtATimeServicer(CaptionerConfig())  # type: ignore[abstract]  # other calls answer UNIMPLEMENTED
    add_CaptionerServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
