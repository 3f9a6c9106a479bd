"""MVP-LM: one network that boxes and outlines what words or a sentence ask for.

Source: MVP-LM, section 3.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from mvplm.models.chunk_queries import CHUNKINGS, queries_of_chunks
from mvplm.models.denoising import DenoisingQueries, DenoisingSettings, denoising_mask
from mvplm.models.generation import ResponseTokens, greedy_decode, read_summary, strip_tail
from mvplm.models.idle import exact_zero
from mvplm.models.leading import leading_predictions, leading_queries
from mvplm.models.names import NameSpans, NameStates, embed_names
from mvplm.models.names_only import NamesReader
from mvplm.models.parts import Parts
from mvplm.models.queries import Queries, StuffQueries
from mvplm.models.reading import KnownNames, PromptStates, read_parts
from mvplm.models.selection import Selected
from mvplm.models.states import Generation, Perceived, VisualFeatures
from mvplm.structures import Batch, PerceptionOutput, PredictionSet
from mvplm.structures.choices import check_choice

MODES = ("caption", "skip")


@dataclass
class _Asked:
    """What is looked for.

    Attributes:
        names: embeddings of names or expression. summary: (B, D), or None for a model that reads none.
        with_masks: whether masks are wanted. prompts: those of long lists, or None.
    """

    names: NameStates
    summary: Tensor | None
    with_masks: bool
    prompts: PromptStates | None = None

    @property
    def text(self) -> Tensor:
        """(B, K, C) embeddings of names or expression."""
        return self.names.text


class MVPLM(nn.Module):
    """The network. Built from ready modules; parameters are named after the parts.

    Args:
        parts: the modules.
        tokens: ids that frame a response.
        denoising: noise and budget of the denoising queries; None trains without.
        anchor_scale: which level proposes small boxes, "fine_small" or "coarse_small".
        chunking: how a list in several prompts becomes queries: "shared_prefix" selects once over all names,
            "per_chunk_queries" once per prompt.
        names_only: the language model reads names and expressions alone, apart from image and response; for prompts
            with the instruction first and the fusion "visual_only".
    """

    def __init__(
        self,
        parts: Parts,
        *,
        tokens: ResponseTokens,
        denoising: DenoisingSettings | None = None,
        anchor_scale: str = "fine_small",
        chunking: str = "shared_prefix",
        names_only: bool = False,
    ) -> None:
        super().__init__()
        self.chunking = check_choice("chunking", chunking, choices=CHUNKINGS)
        if (parts.selector is None) != (parts.query.fusion == "base_only"):
            raise ValueError('a selector is needed exactly when the fusion is not "base_only"')
        self.encoder = parts.encoder
        self.connector = parts.connector
        self.llm = parts.llm
        self.text = parts.text
        self.pixel_decoder = parts.pixel_decoder
        self.selector = parts.selector
        self.query = parts.query
        self.stuff = parts.stuff
        self.decoder = parts.decoder
        self.heads = parts.heads
        self.tokens = tokens
        self.denoising = denoising
        self.anchor_scale = anchor_scale
        self.reads_summary = tokens.summary >= 0
        if not self.reads_summary and parts.query.fusion != "visual_only":
            raise ValueError('without a summary token the fusion must be "visual_only"')
        if names_only and parts.query.fusion != "visual_only":
            raise ValueError('a model that reads names only has no summary: the fusion must be "visual_only"')
        self.names_reader = NamesReader(mean=parts.text.layer_mean) if names_only else None

    def encode(self, images: Tensor, valid_sizes: list[tuple[int, int]], *, masks: bool = True) -> VisualFeatures:
        """Visual tokens and pixel memory of images (B, 3, H, W), normalised, whose real pixels are ``valid_sizes``.

        Without ``masks`` the features that only masks need are left out.
        """
        maps = self.encoder(images)
        read = self.names_reader is None
        tokens = self.connector(maps[max(maps)]) if read else images.new_zeros(len(images), 0, self.llm.width)
        frame = (images.shape[-2], images.shape[-1])
        return VisualFeatures(tokens, self.pixel_decoder(maps, valid_sizes=valid_sizes, frame=frame, masks=masks))

    def forward(
        self, batch: Batch, *, visual: VisualFeatures | None = None, boxes_only: bool = False
    ) -> PerceptionOutput:
        """Answer a batch whose prompts contain the response and ``<PER>``.

        Args:
            batch: word or sentence family.
            visual: features of the images when they are known already.
            boxes_only: at inference, leave the masks out.

        Returns:
            In training all prediction sets, the selection set, denoising and ``lm_loss``; at inference one set.

        Raises:
            ValueError: for captions (see ``caption_loss``), lists in several prompts (see ``perceive``), or features
                of another number of images.
        """
        if batch.family == "caption":
            raise ValueError("captions have nothing to perceive; use caption_loss or generate")
        if batch.further is not None:
            raise ValueError("a list in several prompts is read by perceive")
        supervised = self.training and batch.targets is not None
        if supervised and batch.box_format is not self.pixel_decoder.box_format:
            wanted = self.pixel_decoder.box_format.value
            raise ValueError(f"this model learns boxes as {wanted}, the batch has {batch.box_format.value}")
        with_masks = any(t.masks is not None for t in batch.targets) if supervised else not boxes_only
        visual = self._visual(batch, visual, masks=with_masks)
        if self.names_reader is not None:
            names = self._text(batch, self.names_reader(self.llm, batch))
            output = self._look(batch, visual, asked=_Asked(names, None, with_masks))
            return replace(output, zero=exact_zero(self._unused(batch, with_masks))) if supervised else output
        reading = self.llm.read(
            self._embed(batch, visual), batch.attention_mask, mean=self.text.layer_mean, asides=batch.asides
        )
        hidden = reading.hidden
        states = hidden if reading.mean is None else reading.mean
        summary = self._summary(batch, hidden) if self.reads_summary else None
        asked = _Asked(self._text(batch, states), summary, with_masks)
        output = self._look(batch, visual, asked=asked)
        if not supervised:
            return output
        lm_loss = self.llm.loss(hidden, batch.supervised, labels=batch.supervised_labels)
        return replace(output, lm_loss=lm_loss, zero=exact_zero(self._unused(batch, with_masks)))

    def caption_loss(self, batch: Batch) -> Tensor:
        """Token-mean cross-entropy (scalar) of the supervised tokens; only encoder, connector and LLM run."""
        maps = self.encoder(batch.images)
        tokens = self.connector(maps[max(maps)])
        embeddings = self.llm.assemble(batch.input_ids, tokens, starts=batch.image_starts)
        hidden = self.llm(embeddings, batch.attention_mask)
        loss = self.llm.loss(hidden, batch.supervised, labels=batch.supervised_labels)
        idle = [self.text, self.pixel_decoder, self.selector, self.query, self.stuff, self.decoder, self.heads]
        return loss + exact_zero(idle)

    @torch.no_grad()
    def generate(self, batch: Batch, *, visual: VisualFeatures | None = None, max_new_tokens: int = 192) -> Generation:
        """Write the response greedily after prompts that are open at the end.

        Args:
            batch: any family; prompts without response.
            visual: features of the images when they are known already.
            max_new_tokens: most tokens per row.
        """
        visual = self._visual(batch, visual)
        prefix = self.llm.prefill(
            self._embed(batch, visual), batch.attention_mask, mean=self.text.layer_mean, asides=batch.asides
        )
        decoded = greedy_decode(
            self.llm, prefix, valid=batch.attention_mask, tokens=self.tokens, max_new_tokens=max_new_tokens
        )
        ids = [strip_tail(row, self.tokens.tail) for row in decoded.ids]
        forced = [not summarised for summarised in decoded.summarised]
        if batch.family == "caption":
            return Generation(ids, forced, summary=None, names=None)
        summary = read_summary(self.llm, decoded, tokens=self.tokens)
        states = prefix.hidden if prefix.mean is None else prefix.mean
        return Generation(ids, forced, summary=summary, names=self._text(batch, states))

    @torch.no_grad()
    def perceive(
        self,
        batch: Batch,
        *,
        mode: str = "caption",
        visual: VisualFeatures | None = None,
        max_new_tokens: int = 192,
        boxes_only: bool = False,
        known: KnownNames | None = None,
    ) -> Perceived:
        """Answer at inference.

        Args:
            batch: with open prompts in mode "caption", with ``<PER>`` in mode "skip".
            mode: "caption" writes the response first; "skip" is one forward.
            visual: features of the images when they are known already.
            max_new_tokens: most tokens of a response. boxes_only: leave the masks out.
            known: embeddings of the names, for prompts that leave their list out.

        Raises:
            ValueError: for another mode, in training mode, for open prompts in mode "skip", or for mode "caption" with
                a model without summary token.
        """
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, got {mode!r}")
        if self.training:
            raise ValueError("perceive needs the model in eval mode; call model.eval() first")
        visual = self._visual(batch, visual)
        if mode == "skip" and self.reads_summary and bool((batch.summary_index < 0).any()):
            raise ValueError('mode "skip" needs prompts that contain <PER>; render them with a response')
        if mode == "caption" and not self.reads_summary:
            raise ValueError('this model has no summary token to write; use mode "skip"')
        if self.names_reader is not None and known is not None:
            output = self._look(batch, visual, asked=_Asked(known.names, None, not boxes_only))
            return Perceived(output, caption_ids=None, forced=[False] * len(batch))
        if known is not None or batch.further is not None:
            reading = read_parts(
                self.llm,
                self.text,
                batch=batch,
                visual=visual.tokens,
                known=known,
                tokens=self.tokens,
                mode=mode,
                max_new_tokens=max_new_tokens,
            )
            asked = _Asked(reading.names, reading.prompts.mean(len(batch)), not boxes_only, reading.prompts)
            return Perceived(self._look(batch, visual, asked=asked), reading.ids, reading.forced)
        if mode == "skip":
            output = self(batch, visual=visual, boxes_only=boxes_only)
            return Perceived(output, caption_ids=None, forced=[False] * len(batch))
        generation = self.generate(batch, visual=visual, max_new_tokens=max_new_tokens)
        asked = _Asked(generation.names, generation.summary, not boxes_only)
        return Perceived(self._look(batch, visual, asked=asked), generation.caption_ids, generation.forced)

    def _visual(self, batch: Batch, visual: VisualFeatures | None, *, masks: bool = True) -> VisualFeatures:
        if visual is None and batch.image_rows is not None:
            sizes = dict(zip(batch.image_rows, batch.valid_sizes, strict=True))
            images = self.encode(batch.images, [sizes[i] for i in range(len(sizes))], masks=masks)
            return images.select(batch.image_rows)
        if visual is None:
            return self.encode(batch.images, batch.valid_sizes, masks=masks)
        if len(visual) != len(batch):
            raise ValueError(f"features of {len(visual)} images for {len(batch)} prompts; see VisualFeatures.select")
        return visual

    def _embed(self, batch: Batch, visual: VisualFeatures) -> Tensor:
        embeddings = self.llm.assemble(batch.input_ids, visual.tokens, starts=batch.image_starts)
        return embeddings if batch.zero_mask is None else embeddings.masked_fill(batch.zero_mask[..., None], 0)

    @staticmethod
    def _summary(batch: Batch, hidden: Tensor) -> Tensor:
        place = batch.summary_index.clamp(min=0)[:, None, None].expand(-1, 1, hidden.shape[-1])
        return hidden.gather(1, place)[:, 0]

    def _text(self, batch: Batch, hidden: Tensor) -> NameStates:
        spans = NameSpans.of(batch)
        return embed_names(self.text, hidden, spans=spans, mask=batch.name_mask, family=batch.family)

    def _look(self, batch: Batch, visual: VisualFeatures, *, asked: _Asked) -> PerceptionOutput:
        """Queries, decoder and heads for text embeddings and summaries that are known."""
        pixel = visual.pixel
        per_chunk = batch.further is not None and self.chunking == "per_chunk_queries"
        selected = None if per_chunk else self._select(batch, visual, text=asked.text)
        if per_chunk:
            queries = self._queries_of_chunks(batch, visual, asked=asked)
        else:
            queries = self.query(asked.summary, selected)
        matching = queries.content.shape[1]
        stuff = self.stuff if batch.use_stuff and not per_chunk else None
        if stuff is not None:
            queries = queries.join(stuff(len(batch)))
        leading = leading_queries(
            batch,
            asked.names,
            training=self.training,
            settings=self.denoising,
            box_format=self.pixel_decoder.box_format,
        )
        noised, mask = leading if isinstance(leading, DenoisingQueries) else None, None
        if leading is not None:
            mask = denoising_mask(
                leading.groups, leading.slots, matching=queries.content.shape[1], device=asked.text.device
            )
            queries = leading.queries.join(queries)
        states = self.decoder(
            queries.content,
            queries.references,
            pixel=pixel,
            box_head=self.heads.box,
            attention_mask=mask,
            all_layers=self.training,
        )
        head = 0 if leading is None else len(leading)
        logits = self._logits(batch, states.hidden, asked=asked)
        masks = self.heads.mask_embeddings(states.hidden) if asked.with_masks else None
        return PerceptionOutput(
            logits=logits[:, :, head:],
            boxes=states.boxes[:, :, head:],
            mask_embeddings=None if masks is None else masks[:, :, head:],
            mask_features=pixel.mask_features if asked.with_masks else None,
            num_things=matching,
            family=batch.family,
            isthing=batch.isthing,
            name_mask=batch.name_mask,
            frame=(batch.images.shape[-2], batch.images.shape[-1]),
            valid_sizes=batch.valid_sizes,
            selection=self._selection_set(batch, selected, stuff=stuff, asked=asked) if self.training else None,
            denoising=None
            if noised is None
            else noised.output(logits=logits, boxes=states.boxes, mask_embeddings=masks),
            prompted=None
            if leading is None or noised is not None
            else leading_predictions(logits, states.boxes, masks=masks, count=head),
            text_embeddings=asked.text,
            summary=asked.summary,
            box_format=self.pixel_decoder.box_format,
        )

    def _queries_of_chunks(self, batch: Batch, visual: VisualFeatures, *, asked: _Asked) -> Queries:
        """Queries selected prompt by prompt."""
        prompts = asked.prompts
        wanted = prompts.present & batch.name_mask[prompts.rows]
        selected = self._select(batch, visual.select(prompts.rows), text=asked.text[prompts.rows], wanted=wanted)
        return queries_of_chunks(self.query(prompts.summary, selected), prompts.rows, count=len(batch))

    def _select(
        self, batch: Batch, visual: VisualFeatures, *, text: Tensor, wanted: Tensor | None = None
    ) -> Selected | None:
        """The best tokens for the names of ``wanted`` (R, K); None: the names of the batch, as configured."""
        if self.selector is None:
            return None
        if wanted is None:
            wanted = batch.name_mask
            if self.selector.kinds == "things" and batch.use_stuff:
                things = wanted & batch.isthing
                wanted = torch.where(things.any(1, keepdim=True), things, wanted)
        return self.selector(
            visual.pixel.memory,
            visual.pixel.geometry.proposals(self.anchor_scale, device=text.device),
            text=text,
            text_mask=wanted,
            heads=self.heads,
            decoder_norm=self.decoder.norm,
            family=batch.family,
        )

    def _selection_set(
        self, batch: Batch, selected: Selected | None, *, stuff: StuffQueries | None, asked: _Asked
    ) -> PredictionSet | None:
        """The heads on the selected features themselves; what trains the selection layers."""
        if selected is None:
            return None
        queries = Queries(selected.features, selected.anchors)
        if stuff is not None:
            queries = queries.join(stuff.for_selection(len(batch)))
        hidden = self.decoder.norm(queries.content)
        masks = self.heads.mask_embeddings(hidden) if asked.with_masks else None
        return PredictionSet(self._logits(batch, hidden, asked=asked), queries.references.sigmoid(), masks)

    def _logits(self, batch: Batch, hidden: Tensor, *, asked: _Asked) -> Tensor:
        if batch.family == "sentence":
            return self.heads.sentence_logits(hidden, asked.text)
        no_object = asked.names.no_object
        return self.heads.word_logits(
            hidden,
            asked.text,
            name_mask=batch.name_mask,
            no_object=self.text.no_object if no_object is None else no_object,
            no_object_bias=self.text.no_object_bias,
        )

    def _unused(self, batch: Batch, with_masks: bool) -> list[nn.Module | nn.Parameter | None]:
        """What the batch gives no gradient to."""
        if batch.family == "sentence":
            idle = [self.heads.word, self.text.word, self.text.no_object, self.text.no_object_bias]
        else:
            idle = [self.heads.sentence, self.text.sentence]
        if self.names_reader is not None:
            idle.append(self.connector)
        if self.stuff is not None and (not batch.use_stuff or self.stuff.detach):
            idle.append(self.stuff)
        if not with_masks:
            pixel = self.pixel_decoder
            idle += [self.heads.mask, pixel.lateral, pixel.lateral_norm, pixel.output, pixel.output_norm]
            idle.append(pixel.mask_features)
        return idle
