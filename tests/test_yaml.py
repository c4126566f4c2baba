import math
import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from ablation import yaml as ablation_yaml
from ablation.errors import InputError, nearest
from ablation.yaml import MAX_BYTES, parse, read

LOADERS = sorted({getattr(yaml, "CSafeLoader", yaml.SafeLoader), yaml.SafeLoader}, key=lambda loader: loader.__name__)


@pytest.fixture(params=LOADERS, autouse=True, scope="module")
def loader(request):
    """Everything holds with libyaml and without."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation_yaml, "_LOADER", request.param)
        yield request.param


def value(text):
    return parse(text, "grid.yaml").value


def same(left, right):
    """Equal and of equal types: 1, 1.0 and True are three values."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def refusal(text):
    with pytest.raises(InputError) as caught:
        parse(text, "grid.yaml")
    message = str(caught.value)
    assert message.isprintable(), message
    assert re.match(r"grid\.yaml:[1-9]\d*:[1-9]\d*: ", message), message
    assert len(message) < 300, message
    return message


# --- scalars ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *[(text, None) for text in ["", "~", "null", "Null", "NULL"]],
        *[(text, True) for text in ["true", "True", "TRUE"]],
        *[(text, False) for text in ["false", "False", "FALSE"]],
        *[("0", 0), ("-0", 0), ("12", 12), ("+1", 1), ("-7", -7), ("0o17", 15), ("0x1F", 31), ("0xff", 255)],
        *[("1e-3", 1e-3), ("1e3", 1e3), ("1E-3", 1e-3), ("1E+3", 1e3), ("1.5e3", 1.5e3), ("012.5", 12.5), ("0e0", 0.0)],
        *[(".5", 0.5), ("-.5", -0.5), ("+.5e1", 5.0), ("1.", 1.0), ("-0.0", -0.0), ("1e-400", 0.0)],
    ],
)
def test_plain_scalar_follows_the_core_schema_of_yaml_1_2(text, expected):
    assert same(value(f"a: {text}\n"), {"a": expected})
    assert same(value(f"a: [{text or '~'}, x]\n"), {"a": [expected, "x"]})


@pytest.mark.parametrize(
    "text",
    [
        *["on", "off", "yes", "no", "On", "NO", "y", "n", "tRUE", "nULL", "nan", "inf", "None"],
        *[
            "2024-01-31",
            "2024-01-31T10:00:00Z",
            "12:30:45",
            "1:30",
            "1_000",
            "1_0.5",
            "0b101",
            "-0x1F",
            "+0o7",
            "0o8",
            "0xg",
        ],
        *["e3", ".", "-", "+", "1e", "1e+", "1.5.2", "1,5", "--1", "=", "4 heads", "\u0661\u0662"],
    ],
)
def test_values_of_yaml_1_1_only_are_strings(text):
    assert same(
        value(f"a: {text}\n" if text != "-" else "a: [x, -]"), {"a": text} if text != "-" else {"a": ["x", "-"]}
    )


@pytest.mark.parametrize("text", ["1e-3", "true", "12", "012", "null", ".inf", "", "~"])
def test_quoted_or_block_scalar_is_a_string(text):
    assert same(value(f"a: '{text}'"), {"a": text})
    assert same(value(f'a: "{text}"'), {"a": text})
    assert same(value(f"a: |-\n  {text}\n"), {"a": text})
    assert same(value(f"a: >-\n  {text}\n"), {"a": text})


@pytest.mark.parametrize("text", ["012", "00", "-007", "+01", "08"])
def test_integer_that_begins_with_zero_is_refused(text):
    message = refusal(f"a: {text}")
    assert message.startswith(f"grid.yaml:1:4: {text} starts with 0") and f"write {int(text)} or quote it" in message


@pytest.mark.parametrize("text", [".inf", "-.inf", "+.Inf", ".INF", ".nan", ".NaN", ".NAN"])
def test_number_that_is_not_finite_is_refused(text):
    assert refusal(f"a:\n  b: {text}").startswith(f"grid.yaml:2:6: {text} is not a finite number")


@pytest.mark.parametrize("text", ["1e400", "-1e999"])
def test_number_too_large_for_a_float_is_refused(text):
    assert refusal(f"a: {text}") == f"grid.yaml:1:4: {text} is too large for a number"


@pytest.mark.parametrize("text", ["1" * 5000, "0x" + "f" * 5000, "1." + "0" * 5000, "0" * 5000])
def test_number_of_thousands_of_digits_is_refused(text):
    assert "has too many digits" in refusal(f"a: {text}")


# --- structure -------------------------------------------------------------------------------------------------------


def test_duplicate_key_is_refused_and_the_first_is_named():
    assert refusal("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n") == "grid.yaml:5:3: the key 'c' appears twice, first in line 3"
    assert "appears twice" in refusal("{a: 1, 'a': 2}")
    assert "appears twice" in refusal("a: {b: 1, b: 1}")


def test_same_key_in_two_mappings_is_no_duplicate():
    assert value("a: {k: 1}\nb: {k: 2}\nk: 3") == {"a": {"k": 1}, "b": {"k": 2}, "k": 3}


@pytest.mark.parametrize("key", ["1", "1e3", "true", "~", "null", "0x1F"])
def test_key_that_is_no_string_is_refused(key):
    assert refusal(f"a:\n  {key}: 1") == f"grid.yaml:2:3: the key {key} must be a string; quote it"
    assert value(f"'{key}': 1") == {key: 1}


@pytest.mark.parametrize("text", ["? [1, 2]\n: 3", "? {a: b}\n: 3", "? \n: 3", "a: &x [1]\n*x : 2"])
def test_collection_or_null_as_a_key_is_refused(text):
    assert "a key must be a string" in refusal(text)


@pytest.mark.parametrize("key", ["on", "2024-01-31", "a b", "model.block", "1:30", "é"])
def test_key_that_is_a_string_in_yaml_1_2_is_accepted(key):
    assert value(f"{key}: 1") == {key: 1}


@pytest.mark.parametrize(
    ("tag", "shown"),
    [
        ("!!python/object/apply:os.system", "!!python/object/apply:os.system"),
        ("!foo", "!foo"),
        ("!", "!"),
        *[(f"!!{name}", f"!!{name}") for name in ["str", "int", "float", "bool", "null", "binary", "set", "timestamp"]],
        ("!<tag:example.org,2000:thing>", "tag:example.org,2000:thing"),
    ],
)
def test_every_tag_is_refused(tag, shown):
    expected = f"grid.yaml:2:4: the tag {shown!r} is not allowed; use plain YAML without tags"
    assert refusal(f"a: 1\nb: {tag} x") == expected
    assert refusal(f"a: 1\nb: {tag} [x]") == expected
    assert refusal(f"a: 1\nb: {tag} {{x: y}}") == expected
    assert "the tag" in refusal(f"{tag} a: 1")


@pytest.mark.parametrize(
    ("text", "location"),
    [("a:\n\tb: 1\n", "2:1"), ("\ta: 1", "1:1"), ("a:\n  b: 1\n\tc: 2", "3:1")],
)
def test_tab_as_indentation_is_refused_by_name(text, location):
    message = refusal(text)
    assert message.startswith(f"grid.yaml:{location}: ") and "a tab where only spaces are allowed" in message


def test_tab_inside_a_string_is_accepted():
    assert value('a: "x\ty"\nb: |\n  x\ty') == {"a": "x\ty", "b": "x\ty"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        *[("a: [1, 2\n", 2), ("a: 1\nb: ]", 2), ("a: {b: 1\nc: 2", 2), ("a: b: c", 1), ("a: 'x", 1), ("@a: 1", 1)],
        *[('a: 1\nb: "\\q"', 2), ("a: 1\n b: 2", 2), ("- a\nb: 1", 2), ("a: 1\n...\nfoo", 3)],
        *[("%YAML 2.0\n---\na: 1", 1), ("a: %b", 1), ("a: &", 1), ("a: *", 1)],
    ],
)
def test_syntax_error_is_one_line_with_its_location(text, line):
    message = refusal(text)
    assert message.startswith(f"grid.yaml:{line}:") and "not YAML: " in message


@pytest.mark.parametrize("escape", ["\\uD800", "\\U00110000", "\\UFFFFFFFF"])
def test_escape_that_is_no_character_is_refused(escape):
    refusal(f'a: "{escape}"')


@pytest.mark.parametrize("text", ["a: 1\n---\nb: 2\n", "---\na: 1\n--- {}\n", "a: 1\n...\n---\nb: 2"])
def test_second_document_is_refused(text):
    assert "a second document starts here" in refusal(text)


def test_markers_of_one_document_are_allowed():
    assert value("%YAML 1.2\n---\na: 1\n...\n") == {"a": 1}


@pytest.mark.parametrize("text", ["- 1\n- 2", "[]", "text", "12", "'{}'", "---\n", "~", "# c\n--- 'x'"])
def test_top_level_that_is_not_a_mapping_is_refused(text):
    assert "the top level must be a mapping" in refusal(text)


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "   \n  # c", "\ufeff"])
def test_empty_document_is_refused(text):
    assert refusal(text) == "grid.yaml:1:1: the file is empty or has only comments"


def test_empty_mapping_is_a_mapping():
    assert value("{}") == {}


@pytest.mark.parametrize("code", [0x00, 0x07, 0x1B, 0x7F, 0x80, 0x85, 0x2028, 0x2029, 0xD800, 0xFFFE, 0xFFFF])
def test_control_character_is_refused_at_its_location(code):
    expected = f"grid.yaml:2:5: character U+{code:04X} is not allowed"
    assert refusal(f"é: 1\nb: x{chr(code)}y") == expected
    assert refusal(f"é: 1\r\nb: x{chr(code)}y") == expected
    assert refusal(f"é: 1\rb: #{chr(code)}") == expected
    assert refusal(f"\ufeffb: {chr(code)}") == f"grid.yaml:1:4: character U+{code:04X} is not allowed"


def test_escaped_character_and_any_script_are_strings():
    assert value('a: "\\x1b\\0\\u2028"\nb: é 中 😀 \u200f') == {"a": "\x1b\0\u2028", "b": "é 中 😀 \u200f"}


# --- anchors, aliases, merge keys ------------------------------------------------------------------------------------


def test_alias_repeats_its_value_as_a_new_object():
    read_value = value("a: &x {k: [1, 2]}\nb: *x\nc: [*x, *x]")
    assert read_value == {"a": {"k": [1, 2]}, "b": {"k": [1, 2]}, "c": [{"k": [1, 2]}, {"k": [1, 2]}]}
    read_value["b"]["k"].append(3)
    assert read_value["a"] == read_value["c"][0] == read_value["c"][1] == {"k": [1, 2]}


def test_alias_to_a_string_may_be_a_key():
    assert value("a: &x name\n*x : 1") == {"a": "name", "name": 1}
    assert value("a: &x '<<'\n*x : 1") == {"a": "<<", "<<": 1}


def test_merge_key_fills_in_what_is_not_given():
    text = "base: &b {lr: 1, wd: 2}\nother: &o {wd: 3, beta: 4}\n"
    assert value(f"{text}use: {{<<: *b, lr: 9}}")["use"] == {"lr": 9, "wd": 2}
    assert value(f"{text}use: {{lr: 9, <<: *b}}")["use"] == {"lr": 9, "wd": 2}
    assert value(f"{text}use: {{<<: [*b, *o], x: 0}}")["use"] == {"lr": 1, "wd": 2, "beta": 4, "x": 0}
    assert value(f"{text}use: {{<<: [*o, *b]}}")["use"] == {"lr": 1, "wd": 3, "beta": 4}
    assert value("use: {<<: {a: 1, b: {c: 2}}, b: 3}")["use"] == {"a": 1, "b": 3}
    assert value("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, x: 3}")["c"] == {"x": 3, "y": 2}


def test_values_a_merge_key_overrides_have_no_location():
    document = parse("use: {<<: {b: {c: 2}}, b: 3}", "grid.yaml")
    assert set(document.locations) == {(), ("use",), ("use", "b")}


@pytest.mark.parametrize("given", ["1", "text", "~", "[1]", "[{a: 1}, 2]", "[[{a: 1}]]"])
def test_merge_key_takes_only_mappings(given):
    assert refusal(f"a: 1\nb: {{<<: {given}}}") == "grid.yaml:2:9: `<<` takes a mapping or a list of mappings"


def test_second_merge_key_is_duplicate_and_quoted_one_a_string():
    assert "the key '<<' appears twice" in refusal("a: {<<: {b: 1}, <<: {c: 2}}")
    assert value("a: {'<<': 1}") == {"a": {"<<": 1}}


def test_list_in_a_merged_mapping_is_not_shared():
    read_value = value("a: &x {k: [1]}\nb: {<<: *x}")
    read_value["b"]["k"].append(2)
    assert read_value["a"] == {"k": [1]}


def test_alias_without_an_anchor_is_refused_with_the_nearest():
    assert refusal("a: &base 1\nb: *bsae") == (
        "grid.yaml:2:4: the alias 'bsae' has no anchor before it; did you mean 'base'?"
    )


def test_repeated_anchor_is_refused():
    assert refusal("a: &x 1\nb: &x 2") == "grid.yaml:2:4: the anchor 'x' appears twice"


@pytest.mark.parametrize(
    "text", ["a: &x [*x]", "&x {a: {b: [{c: *x}]}}", "a: &x {<<: *x}", "a: &x {*x : 1}", "&x {a: {<<: [*x]}}"]
)
def test_alias_inside_its_own_anchor_is_refused(text):
    assert "the alias 'x' is inside the anchor it refers to" in refusal(text)


def bomb(levels, width):
    lines = ["l0: &l0 [x]"]
    lines += [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize("levels", [9, 40])
def test_bomb_of_aliases_is_refused_before_it_expands(levels):
    message = refusal(bomb(levels, 9))
    assert "more than 100,000 values" in message and message.startswith("grid.yaml:6:")


def test_bomb_of_merge_keys_is_refused():
    lines = ["a: &a {" + ", ".join(f"k{i}: {i}" for i in range(1000)) + "}"]
    lines += [f"b{i}: {{<<: [{', '.join(['*a'] * 20)}]}}" for i in range(20)]
    assert "more than 100,000 values" in refusal("\n".join(lines))


def test_limit_on_values_is_exact(monkeypatch):
    monkeypatch.setattr(ablation_yaml, "MAX_NODES", 100)
    # 3 are the mapping, its key and the list.
    assert value(f"a: [{'1,' * 97}]") == {"a": [1] * 97}
    assert "more than 100 values" in refusal(f"a: [{'1,' * 98}]")


def test_limit_on_values_counts_what_an_alias_repeats(monkeypatch):
    monkeypatch.setattr(ablation_yaml, "MAX_NODES", 100)
    # 4 are the mapping and its keys, 31 the anchored list, 31 its alias, 1 the last list.
    text = "a: &a [" + "1," * 30 + "]\nb: *a\nc: [{}]"
    assert value(text.format("1," * 33))["c"] == [1] * 33
    assert "more than 100 values" in refusal(text.format("1," * 34))


# --- depth and size --------------------------------------------------------------------------------------------------


def test_limit_on_depth_is_exact():
    within = "a: " + "[" * 49 + "]" * 49
    assert value(within)
    assert refusal(within.replace("[]", "[[]]")) == "grid.yaml:1:53: nested deeper than 50 levels"


@pytest.mark.parametrize(
    "text",
    [
        *["[" * 20_000, "a: " + "[" * 20_000 + "]" * 20_000, "- " * 20_000 + "a", "{a: " * 20_000, "? " * 20_000],
        "\n".join(" " * i + "a:" for i in range(1_000)),
    ],
    ids=["open", "closed", "list", "mapping", "key", "block"],
)
def test_thousands_of_levels_are_refused(text):
    assert "nested deeper than 50 levels" in refusal(text)


def test_depth_counts_what_aliases_add():
    def chain(links):
        return "\n".join(["a0: &a0 []", *(f"a{i}: &a{i} {'[' * 10}*a{i - 1}{']' * 10}" for i in range(1, links))])

    assert value(chain(5))
    assert refusal(chain(6)).startswith("grid.yaml:6:")
    assert "nested deeper than 50 levels" in refusal(chain(2_000))


# --- locations and errors --------------------------------------------------------------------------------------------


def test_every_part_has_the_location_of_its_key_or_item():
    document = parse("# c\nmodel:\n  block: [pre, {name: x}]\n  'norm' : y\nlist:\n  - a\n  -  b: 1\n", "grid.yaml")
    assert document.locations == {
        (): (2, 1),
        ("model",): (2, 1),
        ("model", "block"): (3, 3),
        ("model", "block", 0): (3, 11),
        ("model", "block", 1): (3, 16),
        ("model", "block", 1, "name"): (3, 17),
        ("model", "norm"): (4, 3),
        ("list",): (5, 1),
        ("list", 0): (6, 5),
        ("list", 1): (7, 6),
        ("list", 1, "b"): (7, 6),
    }


def test_columns_count_characters_and_line_breaks_count_once():
    assert parse("{é😀: 1, b: 2}", "f").locations[("b",)] == (1, 9)
    for line_break in ["\n", "\r\n", "\r"]:
        assert parse(f"\ufeffa: 1{line_break}{line_break}b: 2", "f").locations == {
            (): (1, 1),
            ("a",): (1, 1),
            ("b",): (3, 1),
        }


def test_repeated_part_has_the_location_it_is_written_at():
    locations = parse("a: &x\n  k: 1\nb: [*x]\nc: {<<: *x, z: 2}", "f").locations
    assert (locations["b", 0], locations["b", 0, "k"]) == ((3, 5), (2, 3))
    assert (locations["c", "k"], locations["c", "z"]) == ((2, 3), (4, 13))


def test_error_gives_the_location_and_the_path():
    document = parse("a: 1\nmodel:\n  position: ropee\nfactors:\n  model.block: [x, y]\n", "grid.yaml")
    assert str(document.error(("model", "position"), "no")) == "grid.yaml:3:3: model.position: no"
    assert str(document.error(("factors", "model.block", 1), "no")) == "grid.yaml:5:20: factors.model.block[1]: no"
    assert str(document.error((), "no name")) == "grid.yaml:1:1: no name"


def test_error_at_an_unknown_path_names_the_nearest_part():
    document = parse("# c\na: 1\nmodel:\n  position: rope\n", "grid.yaml")
    assert str(document.error(("model", "position", "theta", 0), "no")) == "grid.yaml:4:3: model.position.theta[0]: no"
    assert str(document.error(("model", "depth"), "missing")) == "grid.yaml:3:1: model.depth: missing"
    assert str(document.error(("task",), "missing")) == "grid.yaml:2:1: task: missing"


def test_error_is_one_line_for_any_content():
    error = InputError("a\nb\x1b[31m\u2028\ud800 'é'")
    assert str(error) == "a\\nb\\x1b[31m\\u2028\\ud800 'é'"
    assert refusal('"a\\nb": 1\n"a\\nb": 2') == "grid.yaml:2:1: the key 'a\\nb' appears twice, first in line 1"
    assert len(refusal(f"? {'k' * 10_000}\n: 1\n? {'k' * 10_000}\n: 2")) < 150


def test_nearest_name_ignores_case_and_may_be_absent():
    assert nearest("RoPE", ["alibi", "rope"]) == "; did you mean 'rope'?"
    assert nearest("rope", ["ROPE"]) == "; did you mean 'ROPE'?"
    assert nearest("rop", {"rope": 1, "Alibi": 2}) == "; did you mean 'rope'?"
    assert nearest("alibo", iter(["rope", "Alibi"])) == "; did you mean 'Alibi'?"
    assert nearest("lstm", ["alibi", "rope"]) == nearest("x", []) == ""


# --- files -----------------------------------------------------------------------------------------------------------


def read_refusal(file):
    with pytest.raises(InputError) as caught:
        read(file)
    message = str(caught.value)
    assert message.isprintable()
    return message.removeprefix(str(file))


def test_file_is_read_with_its_name(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_bytes("\ufeffa: é\r\nb: 1\r\n".encode())
    document = read(file)
    assert (document.file, document.value) == (str(file), {"a": "é", "b": 1})


def test_absent_file_is_refused_with_the_nearest_sibling(tmp_path):
    (tmp_path / "grid-large.yaml").touch()
    (tmp_path / "grid.yaml").mkdir()
    assert read_refusal(tmp_path / "grid-lage.yaml") == ": there is no such file; did you mean 'grid-large.yaml'?"
    assert read_refusal(tmp_path / "grid.yml").startswith(": there is no such file")
    assert "'grid.yaml'" not in read_refusal(tmp_path / "grid.yml")
    assert read_refusal(tmp_path / "other") == ": there is no such file"
    assert read_refusal(tmp_path / "no" / "such" / "grid.yaml") == ": there is no such file"
    assert read_refusal(tmp_path / "grid-large.yaml" / "grid.yaml") == ": there is no such file"
    assert "there is no such file" in read_refusal(tmp_path / "line\nbreak")


def test_directory_or_a_pipe_is_refused_without_opening_it(tmp_path):
    assert read_refusal(tmp_path) == ": is a directory, not a file"
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert read_refusal(tmp_path / "pipe") == ": is a device or pipe, not a file"


def test_file_that_cannot_be_opened_is_refused(tmp_path, monkeypatch):
    def denied(self, *_):
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "grid.yaml").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert read_refusal(tmp_path / "loop").startswith(": cannot be read: ")
    assert "cannot be read: " in read_refusal(tmp_path / "nul\0")
    monkeypatch.setattr(Path, "open", denied)
    assert read_refusal(tmp_path / "grid.yaml") == ": cannot be read: Permission denied"


def test_limit_on_bytes_is_exact(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_bytes(b"a: 1 #".ljust(MAX_BYTES, b"x"))
    assert read(file).value == {"a": 1}
    file.write_bytes(b"a: 1 #".ljust(MAX_BYTES + 1, b"x"))
    assert read_refusal(file) == ": is larger than 1,048,576 bytes, the limit for a configuration file"


def test_bytes_that_are_not_utf8_are_refused_at_their_location(tmp_path):
    file = tmp_path / "grid.yaml"
    file.write_bytes("a: 1\né: ".encode() + b"\xe9 x\n")
    assert read_refusal(file) == ":2:4: byte 0xe9 is not UTF-8"
    file.write_bytes("a: 1".encode("utf-16"))
    assert read_refusal(file).startswith(":1:1: byte 0xff is not UTF-8")
    file.write_bytes(b"a: 1\nb: \0\n")
    assert read_refusal(file) == ":2:4: character U+0000 is not allowed"


# --- properties ------------------------------------------------------------------------------------------------------

# PyYAML writes these without quotes, being text in YAML 1.1 and numbers in 1.2 (or refused here): '1e3', '0o7', '08'.
NUMBER_IN_1_2 = re.compile(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?|0o[0-7]+")
texts = st.text(max_size=30).filter(lambda text: not NUMBER_IN_1_2.fullmatch(text))
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**90), 10**90)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from(
        ["<<", "=", "on", "true", "null", "~", "2024-01-31", "12:30", "0x1F", "- a", "a: b", "#", "a\nb\n"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(texts, values, max_size=5), st.booleans())
def test_pyyaml_output_is_read_back(written, flow):
    assert same(value(yaml.safe_dump(written, sort_keys=False, default_flow_style=flow)), written)


def paths_of(part, path=()):
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    return {path}.union(*(paths_of(child, (*path, key)) for key, child in items))


@given(st.dictionaries(texts, values, max_size=5))
def test_every_location_is_inside_the_document(written):
    text = yaml.safe_dump(written)
    document = parse(text, "grid.yaml")
    assert set(document.locations) == paths_of(written)
    lines = text.split("\n")
    assert all(
        0 < line <= len(lines) and 0 < column <= len(lines[line - 1]) + 1
        for line, column in document.locations.values()
    )


anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
like_yaml = st.lists(
    st.sampled_from([*"ab:-[]{},?'\"\\#%|>01~@`é\n\r\t\0\ufeff\u2028", *[": ", "- ", "\n  ", "&x ", "*x", "<<: "]])
    | st.sampled_from(["!!int ", "!t ", "%YAML 1.2\n", "---\n", "...\n", "1e3", ".inf", "true", "\\U00110000"]),
    max_size=25,
).map("".join)


@given(anything | like_yaml)
@example("a: &x\n  <<: *x")
@example("\ufeff\ufeffa: 1")
def test_any_input_is_read_or_refused_in_one_line(text):
    try:
        read_value = value(text)
    except InputError as error:
        assert str(error).isprintable() and re.match(r"grid\.yaml:[1-9]\d*:[1-9]\d*: ", str(error))
    else:
        assert isinstance(read_value, dict)
        assert all(not isinstance(part, float) or math.isfinite(part) for part in read_value.values())
