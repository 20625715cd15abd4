"""The demo's SAM 3 before it has learnt anything: its shape, its first weights, its tokenizer, and its folder.

One folder serves every class of the family, as the one of `facebook/sam3` does: it is saved as a `Sam3VideoModel`, whose
`detector_model` is a whole `Sam3Model` and whose tracker reads the same vision tower.

The library's own first weights (a spread of 0.02) suit a width of 1024. In a narrow model they shrink the signal some
two-hundredfold on its way through the neck, so every layer here starts with the spread of its fan-in.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers, trainers
from torch import nn
from transformers import (
    CLIPTokenizer,
    Sam3Config,
    Sam3ImageProcessor,
    Sam3Model,
    Sam3VideoConfig,
    Sam3VideoModel,
    Sam3VideoProcessor,
)
from transformers.models.sam2_video.video_processing_sam2_video import Sam2VideoVideoProcessor

from argus_ray.synthetic.language import vocabulary
from argus_ray.synthetic.scene import COLOURS
from argus_ray.synthetic.shapes import SHAPES

TEXT_LENGTH = 32  # what SAM 3's processor pads every phrase to
PATCH = 14


@dataclass(frozen=True)
class Architecture:
    image_size: int = 168
    vision_width: int = 160
    vision_layers: int = 4
    width: int = 128  # of everything behind the vision tower; the tracker needs a multiple of 64 above 64
    encoder_layers: int = 2
    decoder_layers: int = 3
    queries_a_side: int = 4
    text_width: int = 128
    text_layers: int = 2

    @property
    def grid(self) -> int:
        """Patches along a side."""
        return self.image_size // PATCH

    @property
    def mask_size(self) -> int:
        return 4 * self.grid


def plural(shape: str) -> str:
    irregular = {"bus": "buses", "fish": "fishes", "person": "people"}
    return irregular.get(shape, f"{shape}s")


def train_clip_tokenizer(entries: int = 900) -> CLIPTokenizer:
    """A CLIP tokenizer learnt from the drawn world's phrases: every known word is one entry, every byte is known."""
    phrases = vocabulary()
    phrases += [f"the {colour} {plural(shape)}" for colour in COLOURS for shape in SHAPES]
    phrases += [f"{colour} objects" for colour in COLOURS] + ["visual", "object"] * 8
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    draft = CLIPTokenizer().backend_tokenizer
    draft.train_from_iterator(
        phrases,
        trainers.BpeTrainer(
            vocab_size=entries,
            min_frequency=2,
            show_progress=False,
            end_of_word_suffix="</w>",
            special_tokens=["<|startoftext|>", "<|endoftext|>"],
            initial_alphabet=alphabet,
        ),
    )
    learnt = json.loads(draft.to_str())["model"]
    vocab: dict[str, int] = dict(learnt["vocab"])
    # Letters that close a word are numbered by chance, another time otherwise: number them by the alphabet.
    letters = sorted(piece for piece in vocab if len(piece) == len("a</w>") and piece.endswith("</w>"))
    vocab |= dict(zip(letters, sorted(vocab[letter] for letter in letters), strict=True))
    for byte in alphabet:  # an unknown piece would become <|endoftext|>, which ends the text
        vocab.setdefault(f"{byte}</w>", len(vocab))
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in learnt["merges"]]
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=TEXT_LENGTH)


def image_config(size: Architecture, tokenizer: CLIPTokenizer) -> Sam3Config:
    layer = {
        "hidden_size": size.width,
        "num_attention_heads": 4,
        "intermediate_size": 2 * size.width,
        "dropout": 0.0,
    }
    return Sam3Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam3_vit_model",
                "hidden_size": size.vision_width,
                "intermediate_size": 3 * size.vision_width,
                "num_hidden_layers": size.vision_layers,
                "num_attention_heads": size.vision_width // 32,
                "image_size": size.image_size,
                "pretrain_image_size": size.image_size,
                "patch_size": PATCH,
                "window_size": size.grid // 2,
                "global_attn_indexes": list(range(1, size.vision_layers, 2)),
            },
            "fpn_hidden_size": size.width,
            "backbone_feature_sizes": [[side * size.grid] * 2 for side in (4, 2, 1)],
        },
        text_config={
            "model_type": "clip_text_model",
            "vocab_size": len(tokenizer),
            "hidden_size": size.text_width,
            "intermediate_size": 2 * size.text_width,
            "projection_dim": 64,
            "num_hidden_layers": size.text_layers,
            "num_attention_heads": 4,
            "max_position_embeddings": TEXT_LENGTH,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        geometry_encoder_config={"num_layers": 1, "roi_size": 3, **layer},
        detr_encoder_config={"num_layers": size.encoder_layers, **layer},
        detr_decoder_config={"num_layers": size.decoder_layers, "num_queries": size.queries_a_side**2, **layer},
        mask_decoder_config={"hidden_size": size.width, "num_attention_heads": 4, "num_upsampling_stages": 2},
    )


def video_config(detector: Sam3Config) -> Sam3VideoConfig:
    width, image_size = detector.detr_encoder_config.hidden_size, detector.image_size
    tracker = {
        "model_type": "sam3_tracker_video",
        "image_size": image_size,
        "vision_config": detector.vision_config.to_dict(),
        "prompt_encoder_config": {"hidden_size": width, "image_size": image_size, "patch_size": PATCH},
        "mask_decoder_config": {
            "hidden_size": width,
            "mlp_dim": 2 * width,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": width,
            "dynamic_multimask_via_stability": False,
        },
        # one mask for a prompt, so that there is one mask token to train and not four
        "multimask_output_in_sam": False,
        "multimask_output_for_tracking": False,
        "num_maskmem": 4,
        "max_object_pointers_in_encoder": 4,
        "memory_attention_hidden_size": width,
        "memory_attention_num_layers": 2,
        "memory_attention_feed_forward_hidden_size": 2 * width,
        "memory_attention_dropout": 0.0,
        "memory_attention_rope_dropout": 0.0,
        "memory_encoder_hidden_size": width,
        "memory_encoder_output_channels": 64,  # written into the memory attention as a number
        "mask_downsampler_embed_dim": width,
        "memory_fuser_embed_dim": width,
        "memory_fuser_intermediate_dim": 2 * width,
        "memory_fuser_layer_scale_init_value": 0.1,  # the library's 1e-6 starves a tracker that starts from nothing
    }
    return Sam3VideoConfig(
        detector_config=detector.to_dict() | {"model_type": "sam3"},
        tracker_config=tracker,
        low_res_mask_size=4 * image_size // PATCH,
        fill_hole_area=0,
        new_det_thresh=0.5,  # as the threshold of what counts as found: the library's 0.7 is of its own weights
        hotstart_delay=0,
        hotstart_unmatch_thresh=0,
        hotstart_dup_thresh=0,
    )


@torch.no_grad()
def fan_in(module: nn.Module) -> None:
    """First weights with a spread of fan_in ** -0.5, cut at two spreads; biases zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            # each output of these transposed convolutions (stride = kernel) sees one pixel
            inputs = part.weight.shape[0] if isinstance(part, nn.ConvTranspose2d) else part.weight[0].numel()
            spread = inputs**-0.5
            nn.init.trunc_normal_(part.weight, std=spread, a=-2 * spread, b=2 * spread)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


@torch.no_grad()
def new_image_model(size: Architecture, tokenizer: CLIPTokenizer) -> Sam3Model:
    """A detector that can begin to learn: see the comments for what each first value is good for."""
    model = Sam3Model(image_config(size, tokenizer))
    fan_in(model)
    decoder = model.detr_decoder
    side = size.queries_a_side
    centre = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    boxes = torch.stack([x.flatten(), y.flatten(), torch.full((side**2,), 0.22), torch.full((side**2,), 0.4)], 1)
    decoder.reference_points.weight.copy_(torch.logit(boxes))  # every query begins as a box of a place of its own
    nn.init.normal_(decoder.query_embed.weight, std=0.5)
    nn.init.zeros_(decoder.box_head.layer3.weight)
    for distance in (decoder.box_rpb_embed_x, decoder.box_rpb_embed_y):
        # The bias of attention by the distances to a box's two edges begins as minus the distance outside of the box:
        # a query reads its own place from the first step, instead of the whole picture.
        distance.layer2.weight.mul_(0.1)
        distance.layer1.weight[0] = torch.tensor([-1.0, 0.0])
        distance.layer1.weight[1] = torch.tensor([0.0, 1.0])
        distance.layer2.weight[:, :2] = -torch.tensor([16.0, 8.0, 8.0, 3.0])[:, None]
    # dot products over many channels: begin near zero
    model.mask_decoder.mask_embedder.layers[-1].weight.mul_(0.1)
    model.mask_decoder.semantic_projection.weight.mul_(0.1)
    # the spread of 0.02 of the library would drown in what the layers add
    words = model.text_encoder.text_model.embeddings if hasattr(model.text_encoder, "text_model") else None
    embeddings = words if words is not None else model.text_encoder.embeddings
    nn.init.normal_(embeddings.token_embedding.weight, std=0.7)
    nn.init.normal_(embeddings.position_embedding.weight, std=0.2)
    nn.init.normal_(model.geometry_encoder.label_embed.weight, std=0.7)  # else "not like this" looks as "like this"
    return model


@torch.no_grad()
def new_video_model(detector: Sam3Model) -> Sam3VideoModel:
    """The whole of the family around a detector, its tracker untrained and its tracker's neck a copy of the detector's."""
    model = Sam3VideoModel(video_config(detector.config))
    fan_in(model.tracker_model)
    model.detector_model.load_state_dict(detector.state_dict())
    model.tracker_neck.load_state_dict(detector.vision_encoder.neck.state_dict())
    tracker = model.tracker_model
    for table in (tracker.no_memory_embedding, tracker.memory_temporal_positional_encoding):
        nn.init.trunc_normal_(table, std=0.02)
    # The library draws the code of places twice, once for prompts and once for the picture. It has to be one code: then a
    # click looks like its place, and an attention whose queries and keys are projected alike looks there from the start.
    places = tracker.shared_image_embedding.positional_embedding
    tracker.prompt_encoder.shared_embedding.positional_embedding.copy_(places)
    for block in tracker.mask_decoder.transformer.layers:
        for attention in (block.cross_attn_token_to_image, block.cross_attn_image_to_token):
            attention.q_proj.weight.mul_(2)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
    # Equal biases of queries and keys are turned by the rotary code of their places, and agree most where these are the
    # same: a patch begins by remembering what was at its own place.
    for layer in tracker.memory_attention.layers:
        layer.cross_attn_image.q_proj.bias.fill_(0.7)
        layer.cross_attn_image.k_proj.bias.fill_(0.7)
    return model


def save(model: Sam3VideoModel, tokenizer: CLIPTokenizer, out: Path, facts: dict[str, Any]) -> None:
    """The folder: weights in half precision, configuration, processor, tokenizer, and `facts` in `argus.json`.

    The facts are what the weights' own configuration has no place for: `tracker` ("untrained", "pictures" or "video", by
    what the tracker was trained on) and `score_threshold`, at which the detector's scores were best.
    """
    size = model.config.tracker_config.image_size
    square = {"height": size, "width": size}
    mask = {"height": 4 * size // PATCH, "width": 4 * size // PATCH}
    copy.deepcopy(model).half().save_pretrained(out)
    Sam3VideoProcessor(
        Sam3ImageProcessor(size=square, mask_size=mask),
        Sam2VideoVideoProcessor(size=square, image_mean=[0.5] * 3, image_std=[0.5] * 3),
        tokenizer,
    ).save_pretrained(out)
    (out / "argus.json").write_text(json.dumps(facts, indent=2) + "\n")
