"""SAM 2 as a peer, on a tiny random model of its structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Sam2Config, Sam2HieraDetConfig, Sam2MaskDecoderConfig, Sam2Model, Sam2VisionConfig
from transformers import Sam2PromptEncoderConfig as PromptConfig

from m2n2 import Prompt
from m2n2.backbones.dinov2 import IMAGENET_MEAN, IMAGENET_STD
from m2n2.evaluation import ClickRule
from m2n2.evaluation.next_click import next_click
from pipeline.config import parse_job
from pipeline.evaluation.evaluate import Request, click_here, evaluate
from pipeline.evaluation.methods import make_method
from pipeline.evaluation.sam2 import Sam2
from pipeline.evaluation.truths import find_truths
from pipeline.storage.store import Store
from tests.pipeline.evaluation.data import picture, write_folders

SIDE = 128


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[SIDE, SIDE],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 4, 4],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=32,
    )
    decoder = Sam2MaskDecoderConfig(hidden_size=32, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=32)
    prompts = PromptConfig(hidden_size=32, image_size=SIDE, mask_input_channels=8)
    directory = tmp_path_factory.mktemp("tiny_sam2")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = Sam2Config(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
        Sam2Model(config).save_pretrained(directory)
    return directory


def test_its_masks_are_the_models_by_its_authors_protocol(weights: Path) -> None:
    image, points = picture(0)[0], [(20.0, 14.0), (40.0, 30.0)]
    found = Sam2(weights, "cpu").ready(image).masks([Prompt(points[:1], [True]), Prompt(points, [True, False])])
    model = Sam2Model.from_pretrained(weights).eval()
    square = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None] / 255, (SIDE, SIDE), mode="bilinear", antialias=True
    )
    mean, std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD]).view(2, 1, 3, 1, 1)
    scaled = torch.tensor(points) * torch.tensor([SIDE / 56, SIDE / 40])
    with torch.no_grad():
        first = model((square - mean) / std, scaled[None, None, :1], torch.tensor([[[1]]]))
        best = first.pred_masks[:, 0, first.iou_scores[0, 0].argmax()][:, None]
        second = model(
            (square - mean) / std,
            scaled[None, None],
            torch.tensor([[[1, 0]]]),
            input_masks=best,
            multimask_output=False,
        ).pred_masks[:, 0]
    for mask, logits in zip(found, (best, second), strict=True):
        expected = torch.nn.functional.interpolate(logits, (40, 56), mode="bilinear")[0, 0] > 0
        assert np.array_equal(mask, expected.numpy())
    assert found[0].any() != found[0].all() or not np.array_equal(*found)


def test_it_gets_the_protocols_clicks(weights: Path, tmp_path: Path) -> None:
    write_folders(tmp_path / "data", 1)
    data = find_truths(Store(str(tmp_path / "data")))
    places = {"images": str(tmp_path / "data"), "clicks": "none", "output": str(tmp_path / "out")}
    job = parse_job(places | {"workers": {"gpus": 0}}, "test")
    request = Request(ClickRule(), 2, method="sam2", weights=str(weights))
    ready = make_method(job, request.method, request.weights)
    (found,) = evaluate([job], request, data, lambda work: click_here([job], request, data, ready, work))
    truth = picture(0)[1][0]
    session = found["images/0.png", "0#1"]
    assert session.clicks[0] == next_click(truth, np.zeros_like(truth), ClickRule())
    assert len(session.clicks) == 2
