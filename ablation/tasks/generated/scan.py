"""SCAN: commands of a small language, to be translated into sequences of actions."""

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ...errors import InputError, nearest
from ...registry import register
from ..base import BatchSize, Count, Examples, count_examples
from ..description import DataDescription, count_in_both, shortened
from ..examples import hold_out
from ..pairs import N_RESERVED, PairsTask, by_target_length, make_pairs

Split = Literal["simple", "length", "addprim_jump"]

ACTIONS = {"walk": "I_WALK", "look": "I_LOOK", "run": "I_RUN", "jump": "I_JUMP"}
TURNS = {"left": "I_TURN_LEFT", "right": "I_TURN_RIGHT"}
WORDS = [*ACTIONS, "turn", *TURNS, "opposite", "around", "twice", "thrice", "and", "after"]
IDS = {word: id for id, word in enumerate([*WORDS, *ACTIONS.values(), *TURNS.values()], N_RESERVED)}
LONGEST_COMMAND = 9
"""In words."""
LONGEST_TRAINED = 22
"""The most actions of a training command in the split ``length``."""
N_JUMPS = 1467
"""How often the command `jump` is in the training set of the split ``addprim_jump``: a tenth of it."""


@register("task", "scan", source="Lake and Baroni 2018, arXiv:1711.00350")
class Scan(PairsTask):
    """All 20,910 commands such as `jump twice after turn left` and their actions, in the published splits.

    ``simple`` holds out a random fifth; ``length`` trains on up to 22 actions and validates on 24 to 48;
    ``addprim_jump`` trains on the command `jump`, as a tenth of all examples, but on no other command that contains it.
    Commands whose begin token and actions are more than ``length`` tokens are left out. At most ``validation_examples``
    random commands validate; with ``buckets`` above 1 they are also scored in that many parts by the number of actions.
    """

    def __init__(
        self,
        *,
        split: Split = "simple",
        length: Annotated[int, Field(ge=2, le=49)] = 49,
        batch_size: BatchSize = 32,
        validation_examples: Count = 1024,
        buckets: Count = 1,
    ):
        super().__init__(length, batch_size)
        self.split, self.validation_examples, self.buckets = split, validation_examples, buckets

    @property
    def vocabulary(self) -> int:
        return N_RESERVED + len(IDS)

    @property
    def unit(self) -> str:
        return f"word of {self.vocabulary:,}"

    @property
    def longest(self) -> int:
        return max(self.length, LONGEST_COMMAND)

    @cached_property
    def parts(self) -> tuple[Examples, Examples]:
        """Examples for training and for validation."""
        training, validation = self.pairs
        if not training or not validation:
            raise InputError(
                f"task.length: {self.length} leaves no commands for training or for validation with split {self.split}"
            )
        if len(validation) > self.validation_examples:
            _, chosen = hold_out(len(validation), self.validation_examples / len(validation), "scan validation")
            validation = [validation[index] for index in chosen]
        return self.examples(training), self.examples(validation)

    @cached_property
    def all_pairs(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Commands and actions for training and for validation."""
        return split_pairs(self.split)

    @cached_property
    def pairs(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Those of them that are short enough."""
        training, validation = (
            [(command, actions) for command, actions in part if 1 + len(actions.split()) <= self.length]
            for part in self.all_pairs
        )
        return training, validation

    def describe(self) -> DataDescription:
        training, validation = self.pairs
        n_validation = count_examples(self.parts[1])
        return DataDescription(
            source=f"all commands of SCAN, split {self.split}",
            items="pairs",
            training=len(training),
            of_training=len(self.all_pairs[0]) if len(training) < len(self.all_pairs[0]) else None,
            left_out=f"length {self.length}",
            validation=n_validation,
            of_validation=len(self.all_pairs[1]) if n_validation < len(self.all_pairs[1]) else None,
            vocabulary=self.vocabulary,
            duplicates=count_in_both(training, validation),
            first=shortened(" -> ".join(training[0])),
            last=shortened(" -> ".join(validation[-1])),
        )

    def examples(self, pairs: list[tuple[str, str]]) -> Examples:
        """The examples of commands and their actions."""
        sources, targets = ([[IDS[word] for word in pair[side].split()] for pair in pairs] for side in (0, 1))
        return make_pairs(sources, targets, LONGEST_COMMAND, self.length)

    def relations(self, batch: Examples) -> dict[str, Tensor]:
        """``alignment``: from where an action is to be predicted to the word of the command that it comes from."""
        words = {id: word for word, id in IDS.items()}
        related = torch.zeros(*batch["targets"].shape, batch["source"].size(1), dtype=torch.bool)
        for example, command in enumerate(batch["source"].tolist()):
            for query, key in enumerate(alignment([words[id] for id in command if id >= N_RESERVED])):
                related[example, query, key] = True
        return {"alignment": related.to(batch["source"].device)}

    def encode(self, text: str) -> list[int]:
        words = text.split()
        for word in words:
            if word not in WORDS:
                raise InputError(
                    f"{word!r} is not a word of a command; allowed: {', '.join(WORDS)}{nearest(word, WORDS)}"
                )
        return [IDS[word] for word in words]

    def decode(self, ids: list[int]) -> str:
        words = {id: word for word, id in IDS.items()}
        return " ".join(words[id] for id in ids if id >= N_RESERVED)

    def fingerprint(self) -> None:
        _ = self.parts  # raises the errors of an unusable length

    def training(self, seed: int, epoch: int) -> Examples:
        return self.parts[0]

    def validation(self) -> Examples:
        return self.parts[1]

    def further_validation(self) -> dict[str, Examples]:
        return by_target_length(self.parts[1], self.buckets)


def all_commands() -> dict[str, str]:
    """Every command of the grammar, with its actions.

    C -> S | S and S | S after S;  S -> V | V twice | V thrice;
    V -> U | D | D' opposite T | D' around T;  D -> U T | turn T;  D' -> U | turn;  T -> left | right;
    U -> walk | look | run | jump
    """
    verbs = dict(ACTIONS)
    for direction, turn in TURNS.items():
        for verb, action in {**{verb: [action] for verb, action in ACTIONS.items()}, "turn": []}.items():
            verbs[f"{verb} {direction}"] = " ".join([turn, *action])
            verbs[f"{verb} opposite {direction}"] = " ".join([turn, turn, *action])
            verbs[f"{verb} around {direction}"] = " ".join(4 * [turn, *action])
    sentences = {}
    for verb, actions in verbs.items():
        for suffix, times in (("", 1), (" twice", 2), (" thrice", 3)):
            sentences[verb + suffix] = " ".join(times * [actions])
    commands = dict(sentences)
    for first, first_actions in sentences.items():
        for second, second_actions in sentences.items():
            commands[f"{first} and {second}"] = f"{first_actions} {second_actions}"
            commands[f"{first} after {second}"] = f"{second_actions} {first_actions}"
    return commands


def alignment(words: Sequence[str]) -> list[int]:
    """For each action of a command the index of the word that it comes from: a verb, or the direction of a turn."""
    for joint in ("and", "after"):
        if joint in words:
            place = words.index(joint)
            first = alignment(words[:place])
            second = [place + 1 + index for index in alignment(words[place + 1 :])]
            return first + second if joint == "and" else second + first
    verb = [] if words[0] == "turn" else [0]
    turns = [index for index, word in enumerate(words) if word in TURNS]
    once = [*turns, *turns, *verb] if "opposite" in words else [*turns, *verb]
    return {"twice": 2, "thrice": 3}.get(words[-1], 1) * (4 if "around" in words else 1) * once


def split_pairs(split: Split) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Commands and actions for training and for validation."""
    pairs = list(all_commands().items())
    if split == "simple":
        training, validation = hold_out(len(pairs), 0.2, "scan")
        return [pairs[index] for index in training], [pairs[index] for index in validation]
    if split == "length":
        held_out = [len(actions.split()) > LONGEST_TRAINED for _, actions in pairs]
    else:
        held_out = ["jump" in command for command, _ in pairs]
    training_pairs = [pair for pair, validates in zip(pairs, held_out, strict=True) if not validates]
    validation_pairs = [pair for pair, validates in zip(pairs, held_out, strict=True) if validates]
    if split == "addprim_jump":
        jump = ("jump", ACTIONS["jump"])
        validation_pairs.remove(jump)
        training_pairs += N_JUMPS * [jump]
    return training_pairs, validation_pairs
