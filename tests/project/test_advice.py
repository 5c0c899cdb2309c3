"""Advice is true: each message with a remedy has a test that follows the remedy and finds that it works.

`FOLLOWED` names that test by a part of the message, as it stands in the code with `{}` for what is filled in. A new
message with a remedy fails here until it has its line.
"""

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.faults.attempt import command, one_step
from bench.faults.models import BAD_MODELS
from wake2vec.training.folder import check_model
from wake2vec.training.model import load_tokenizer

ROOT = Path(__file__).parents[2]
NO_ADVICE = {"ValueError", "TypeError", "RuntimeError", "OSError", "FileNotFoundError", "NotADirectoryError", "Exit"}
VERBS = (
    *(
        "add",
        "choose",
        "convert",
        "copy",
        "correct",
        "deinstall",
        "export",
        "fix",
        "free",
        "get",
        "give",
        "install",
        "leave",
        "let",
    ),
    *(
        "lower",
        "make",
        "mend",
        "merge",
        "mount",
        "move",
        "put",
        "raise",
        "remove",
        "run",
        "save",
        "see",
        "shorten",
        "stop",
    ),
    *("the same command", "start", "try", "unset", "use", "wait", "write"),
)
REMEDY = re.compile(rf"[;:,] (or )?(?:{'|'.join(VERBS)})\b|`[^`]+`|\{{AGAIN\}}|\{{\w*REMEDY\}}")

HERE, CLI = "tests/project/test_advice.py", "tests/cli/test_cli.py"
SHARED_STUDY = "tests/engine/test_shared.py"
REACHED = f"{SHARED_STUDY}::test_what_cant_be_reached_is_one_line_makes_nothing_and_its_remedy_works"
FULL_DATABASE = f"{SHARED_STUDY}::test_a_database_that_takes_nothing_more_is_told_and_goes_on_when_that_is_put_right"
DISTIL, PIECES = "tests/training/test_distil.py", "tests/data/test_pieces.py"
LISTS, FORMS, CONFIG = "tests/data/test_lists.py", "tests/data/test_forms.py", "tests/project/test_study_config.py"
SHARED, DAMAGE = "tests/engine/test_shared_faults.py", "tests/engine/test_run_again.py"
LESSONS = f"{SHARED}::test_lessons_that_the_text_lacks_are_refused_at_once_and_without_them_it_runs"
STORED, RESUME, LEDGER = (
    "tests/checkpoints/test_subject.py::test_what_doesnt_fit_together_is_refused_in_one_line",
    "tests/training/test_resume.py",
    "tests/mirror/test_mirror_ledger.py",
)
REMEDIES, VERSIONS, TERMINAL = (
    "tests/project/test_remedies.py",
    "tests/runs/test_versions.py",
    "tests/cli/test_terminal.py",
)
IN_MID_STUDY = "tests/engine/test_faults.py::test_a_fault_in_mid_study_is_one_line_and_nothing_is_lost_or_doubled"
FULL = f"{REMEDIES}::test_what_the_disk_didnt_take_the_same_command_brings_when_there_is_room"
OTHER_RESULT = f"{REMEDIES}::test_a_result_of_another_version_leaves_its_folder_alone_and_the_study_begins_in_another"
CLUSTER = "tests/engine/test_cluster.py::test_"
NOT_YET = f"{REMEDIES}::test_make_study_brings_what_isnt_there_yet"
SERVER = f"{REMEDIES}::test_another_port_is_taken_and_where_a_server_doesnt_start_its_log_says_why"
NO_MIRROR = f"{LEDGER}::test_a_folder_that_cannot_be_a_mirror_is_refused_and_nothing_is_made"
AGAIN, BY_PATH = f"{HERE}::test_a_model_that_is_got_again_is_taken", f"{HERE}::test_another_path_or_value_is_taken"
FOLLOWED: dict[str, str] = {
    "{AGAIN}": AGAIN,
    "`make model` makes it": f"{CONFIG}::test_the_profile_of_a_real_model_has_phase_1s_recipe_and_what_make_makes",
    "must map tensors to files under": AGAIN,
    "holds an adapter": AGAIN,
    "must not bring code of its own": AGAIN,
    "weights must not be quantized": AGAIN,
    "weights must be floating-point numbers": AGAIN,
    "each token of a tokenizer must have its row": AGAIN,
    "a word can't begin with {SPACE}": f"{PIECES}::test_a_list_of_words_is_refused_and_its_remedies_work",
    "pieces are made of a text with its capitals": f"{PIECES}::test_a_list_of_words_is_refused_and_its_remedies_work",
    "the form `pieces` takes a list of pieces": "tests/cli/test_lexicon_commands.py::test_pieces_are_built_and_audited",
    "pieces have no limits": "tests/cli/test_lexicon_commands.py::test_pieces_are_built_and_audited",
    "pieces need two neighbours": f"{PIECES}::test_a_text_without_neighbours_is_refused_and_a_smaller_count_does",
    "the form `pieces` needs": f"{PIECES}::test_a_model_whose_merges_cannot_go_on_is_refused",
    "the form `space` needs": f"{FORMS}::test_a_refusal_names_its_own_reason_and_its_remedy_works",
    "would fail like this one": f"{SHARED}::test_too_little_memory_ends_the_study_and_the_same_command_goes_on",
    "distillation needs new words": LESSONS,
    "distances of hidden states must be finite": f"{DISTIL}::test_a_distance_that_is_no_number_is_told",
    "give machine.device=auto": "tests/runs/test_unlike_machines.py::test_a_demanded_device_is_refused_where_it_isnt",
    "`make study` trains": f"{DAMAGE}::test_what_is_damaged_is_trained_again_alone_and_gives_what_it_gave",
    "{} is in use: {} is held by {}": f"{CLI}::test_clean_takes_what_this_project_made_and_nothing_else",
    "more text, or looser limits": BY_PATH,
    "give another file or --column": BY_PATH,
    "a report needs at least": BY_PATH,
    "doesn't tell which rows are new": BY_PATH,
    "isn't what an export writes": BY_PATH,
    "holds something else than this analysis": BY_PATH,
    "the base model must be a local folder": BY_PATH,
    "give the folder of a language model": BY_PATH,
    "see who owns it": "tests/training/test_folder.py::test_a_folder_is_read_by_who_may_read_it",
    "must be UTF-8: {} isn't{}": f"{LISTS}::test_a_text_in_another_encoding_runs_after_what_is_advised",
    "write the column of words to": f"{LISTS}::test_the_command_that_is_advised_mends_the_list_and_keeps_it",
    "correct or remove these lines": BY_PATH,
    "are comments; add words": BY_PATH,
    "must be text: {} has {} NULs": BY_PATH,
    "must not be empty: {}; give a text": BY_PATH,
    "special tokens can't be added as words": BY_PATH,
    "already; add others": BY_PATH,
    "must fill a block of {} tokens: it has {}": BY_PATH,
    "corpus.bos=always needs": BY_PATH,
    "there is no column {}; give a --column": BY_PATH,
    "the word list can't be a .csv": BY_PATH,
    "is the list itself; give --out another name": BY_PATH,
    "a word list is a file": BY_PATH,
    "files that hold something else aren't replaced": BY_PATH,
    "a word list must be a file that can be made": BY_PATH,
    "the word list can't be written": BY_PATH,
    "no profile {}: give one of": BY_PATH,
    "varies in this study": f"{CONFIG}::test_a_knob_that_varies_cant_be_set_beside_the_space_and_each_remedy_works",
    "a profile has at most": BY_PATH,
    "the keys of a profile are names": BY_PATH,
    "a profile computes nothing: write the value out": BY_PATH,
    "a profile refers to nothing: write the value out": BY_PATH,
    "a profile has no tags": BY_PATH,
    "a time has the form": BY_PATH,
    "a time must be longer than nothing": BY_PATH,
    "a results folder's path can't have the letter": BY_PATH,
    "a results folder must be a folder": BY_PATH,
    "a results folder must be one that can be made": BY_PATH,
    "ids are given like": BY_PATH,
    "what trials are judged by must be defined": f"{SHARED}::test_the_remedies_of_an_undefined_figure_help",
    "through a link: {} is one, to": f"{CLI}::test_nothing_is_deleted_where_a_name_of_this_project_is_a_link",
    "through a link: {} is one; give": f"{CLI}::test_clean_takes_what_this_project_made_and_nothing_else",
    "no folder or .safetensors file": BY_PATH,
    "is neither; give one": BY_PATH,
    "holds another export": (
        "tests/checkpoints/test_export.py::test_exported_twice_it_is_the_same_and_another_export_is_not_overwritten"
    ),
    "the inputs of a trial must be as they were": (
        "tests/checkpoints/test_export.py::test_inputs_that_have_changed_since_are_refused"
    ),
    "can't be read as safetensors": "tests/checkpoints/test_matrix.py::test_what_cant_be_read_is_one_line",
    "give --tensor with the one to read": (
        "tests/checkpoints/test_matrix.py::test_a_file_of_one_matrix_needs_no_name_and_of_several_takes_one"
    ),
    "rows before and after must be of one width": STORED,
    "the model before must have all base rows": STORED,
    "a lexicon holds at most": (
        "tests/data/test_lexicon.py::test_a_list_that_is_too_long_is_taken_when_it_was_shortened"
    ),
    "a figure is declared once": "tests/metrics/test_registry.py::test_a_figure_is_declared_once",
    "figures are measured again with the model": (
        "tests/metrics/test_upgrade.py::test_without_its_rows_or_inputs_a_run_keeps_what_it_has_and_the_reason_is_said"
    ),
    "{} is damaged: {}; {REMEDY}": f"{DAMAGE}::test_what_is_damaged_is_trained_again_alone_and_gives_what_it_gave",
    "{ARRAYS_REMEDY}": f"{REMEDIES}::test_arrays_that_cant_be_read_are_trained_again_as_it_says",
    "results are read up to format": OTHER_RESULT,
    "results are read from format": OTHER_RESULT,
    "a checkpoint needs {} bytes": (
        f"{RESUME}::test_when_the_disk_has_room_again_the_same_trial_goes_on_to_the_same_end"
    ),
    "a trial must fit into the device's memory": (
        f"{RESUME}::test_memory_that_is_exhausted_elsewhere_is_told_in_one_line_and_what_was_trained_stays"
    ),
    "one block at a time must fit": f"{RESUME}::test_where_no_block_fits_shorter_ones_do_or_a_smaller_model",
    "choose another model of its size": "tests/training/test_probe.py::test_each_refusal_names_its_own_reason",
    "model.quantization=nf4 needs": (
        "tests/training/test_quantized.py::test_without_the_packages_it_is_refused_with_what_brings_them"
    ),
    "losses and gradients must be finite": (
        "tests/training/test_training.py::test_a_trial_that_diverged_ends_well_at_a_lower_rate_or_in_a_wider_type"
    ),
    "--against shares no number": (
        "tests/report/test_analyse.py::test_a_summary_of_something_else_is_refused_before_anything_is_written"
    ),
    "a results folder must be there": f"{REMEDIES}::test_a_name_of_those_that_are_offered_is_taken",
    "has no trial {}: give one of": f"{TERMINAL}::test_what_is_offered_instead_works",
    "has no trial that has begun": NOT_YET,
    "has no trial with a result yet": NOT_YET,
    "holds no study: run": NOT_YET,
    "no study {} in {}: run": NOT_YET,
    "nothing to show": NOT_YET,
    "see their reasons in MLflow": f"{REMEDIES}::test_where_all_trials_fail_their_reasons_stand_in_mlflow",
    "the inputs of a study must not change": (
        f"{REMEDIES}::test_an_input_that_changed_in_mid_study_is_put_back_or_the_study_gets_another_name"
    ),
    "a worker must live as long as its study": (
        "tests/engine/test_processes.py::test_whoever_is_killed_the_study_is_the_one_that_was_left_in_peace"
    ),
    "--address must be `local`, `auto` or host:port": (
        f"{CLUSTER}a_study_runs_on_a_cluster_that_was_started_as_the_page_says"
    ),
    "this machine must have the token of the cluster": (
        f"{CLUSTER}a_study_runs_on_a_cluster_that_was_started_as_the_page_says"
    ),
    "that runs: {}: {}; start it": f"{CLUSTER}where_no_cluster_answers_nothing_is_made_and_another_address_is_taken",
    "a cluster must ask for a token": f"{CLUSTER}with_the_token_that_is_advised_it_is_taken",
    "Ray must ask for a token": f"{CLUSTER}a_ray_without_tokens_is_refused_and_taken_when_that_is_unset",
    "Ray must live as long as its study": f"{CLUSTER}after_the_end_of_ray_the_same_command_continues",
    "a worker must have this version of the project": (
        f"{CLUSTER}each_run_has_its_gpu_and_the_next_one_a_process_of_its_own"
    ),
    "a run must keep its worker": f"{CLUSTER}after_a_run_that_lost_its_worker_too_often_the_same_command_continues",
    "--address needs Ray": f"{CLUSTER}without_ray_a_study_runs_here_and_what_brings_ray_is_named",
    "failed for the same reason": (
        f"{SHARED}::test_memory_that_a_knob_decides_fails_one_trial_after_another_only_twice"
    ),
    "has no trial {} with a result": f"{REMEDIES}::test_a_name_of_those_that_are_offered_is_taken",
    "a registered model belongs to a run": (
        f"{REMEDIES}::test_an_export_without_a_run_in_mlflow_is_registered_when_the_study_was_run_again"
    ),
    "was copied or moved": (
        f"{REMEDIES}::test_results_that_were_moved_are_exported_where_they_were_made_or_unregistered"
    ),
    "a mirror must not be ahead": (
        f"{LEDGER}::test_a_mirror_that_somebody_else_has_carried_on_is_neither_used_nor_overwritten"
    ),
    "must be a mirror's ledger": NO_MIRROR,
    "--mirror must name an empty folder": NO_MIRROR,
    "--mirror must lie outside": NO_MIRROR,
    "the folder that holds the mirror must exist": NO_MIRROR,
    "--mirror must be a folder that can be read": NO_MIRROR,
    "a mirror must hold what its ledger names": (
        f"{LEDGER}::test_a_drive_that_lacks_what_it_was_given_last_gives_the_generation_before"
    ),
    "the mirror {} must be readable": (
        "tests/mirror/test_mirror.py::test_a_mirror_that_cant_be_read_is_brought_back_by_the_same_command_later"
    ),
    "were evaluated at no step in common": (
        f"{TERMINAL}::test_trials_without_a_common_step_are_not_compared_and_others_are"
    ),
    "has no figures to compare": f"{TERMINAL}::test_what_is_offered_instead_works",
    "is being made by another process": (
        f"{REMEDIES}::test_a_database_that_another_process_makes_is_there_when_that_is_done"
    ),
    "must be an SQLite database": IN_MID_STUDY,
    "must stay where it is while it is used": IN_MID_STUDY,
    "the results folder must stay where it is": IN_MID_STUDY,
    "must stay as it is while it is used": IN_MID_STUDY,
    "what lies in a results folder must stay there": IN_MID_STUDY,
    "the disk must give and take: {}": IN_MID_STUDY,
    "is in use by another program": IN_MID_STUDY,
    "the disk must give and take {}": FULL,
    "the disk must take what is written": FULL,
    "must have the tables of this version": (
        f"{REMEDIES}::test_a_database_of_other_tables_is_for_what_made_it_and_another_folder_for_this"
    ),
    "is being driven by": "tests/runs/test_lease.py::test_a_second_driver_is_kept_out_by_a_living_one",
    "{} is damaged: {}; `make study` runs it again": (
        f"{REMEDIES}::test_a_note_of_a_fault_that_is_damaged_is_found_out_again"
    ),
    "leave --mirror out": f"{SHARED_STUDY}::test_a_mirror_of_a_shared_study_is_refused",
    "must hold no password": REACHED,
    "must name a database of the server": REACHED,
    "the study database must answer": REACHED,
    "MLflow's server must answer: {} says": REACHED,
    "--storage needs psycopg": f"{SHARED_STUDY}::test_without_psycopg_a_database_is_refused_with_what_installs_it",
    "belongs to one study database and one MLflow": f"{SHARED_STUDY}::test_a_folder_belongs_to_one_place",
    "or give this driver another --folder": f"{SHARED_STUDY}::test_a_folder_has_one_driver_of_a_shared_study_too",
    "put it back there": (
        f"{SHARED_STUDY}::test_rows_that_the_archive_has_lost_are_told_and_brought_when_they_are_put_back"
    ),
    "MLflow's server must keep artifacts": f"{SHARED_STUDY}::test_a_server_that_keeps_no_artifacts_is_refused",
    "must have two connections": FULL_DATABASE,
    "the study database must take what is written": FULL_DATABASE,
    "MLflow's server must let this user in": f"{SHARED_STUDY}::test_mlflows_server_lets_in_who_has_its_login",
    "was made with another configuration": (
        f"{REMEDIES}::"
        "test_a_study_of_another_configuration_goes_on_by_its_old_values_and_another_begins_by_another_name"
    ),
    "study.warm_start needs trials": (
        f"{REMEDIES}::test_a_warm_start_that_gives_nothing_is_left_out_or_what_differs_is_fixed"
    ),
    "must be free and permitted": SERVER,
    "the server doesn't start": SERVER,
    "must have tables that MLflow": f"{VERSIONS}::test_a_newer_ones_is_left_as_it_is",
    "must have the tables of MLflow": f"{VERSIONS}::test_an_older_mlflow_database_is_upgraded_as_it_says",
    "must have the tables of Optuna": f"{VERSIONS}::test_an_older_study_database_is_upgraded_as_it_says",
}


def _template(node: ast.expr) -> str:
    """A message as it is written, with `{}` for what is filled in, and the name where that is a constant's."""
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_template, node.values))
    if isinstance(node, ast.FormattedValue):
        return f"{{{node.value.id}}}" if isinstance(node.value, ast.Name) and node.value.id.isupper() else "{}"
    if isinstance(node, ast.IfExp):
        return _template(node.body) + _template(node.orelse)
    return _template(node.left) + _template(node.right) if isinstance(node, ast.BinOp) else ""


def messages() -> Iterator[tuple[str, str]]:
    """Where each message with a remedy is raised, and its template."""
    for package in ("wake2vec", "study"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Raise | ast.Return) and isinstance(call := _raised(node), ast.Call):
                    kind = getattr(call.func, "id", getattr(call.func, "attr", ""))
                    template = "".join(map(_template, call.args))
                    is_error = isinstance(node, ast.Raise) or kind.endswith("Error")
                    if is_error and kind not in NO_ADVICE and REMEDY.search(template):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", template


def _raised(node: ast.Raise | ast.Return) -> ast.expr | None:
    """What is raised, or given to who raises it."""
    return node.exc if isinstance(node, ast.Raise) else node.value


def test_each_message_with_a_remedy_has_a_test_that_follows_it() -> None:
    open_ = [f"{where}: {text}" for where, text in messages() if not any(part in text for part in FOLLOWED)]
    assert open_ == []


def test_the_register_names_messages_and_tests_that_there_are() -> None:
    templates = [text for _, text in messages()]
    assert [part for part in FOLLOWED if not any(part in text for text in templates)] == []
    for test in set(FOLLOWED.values()):
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text(encoding="utf-8"), test


def test_a_message_without_a_line_in_the_register_is_noticed() -> None:
    """The control."""
    call = ast.parse('raise ModelError(f"a rule: {value}; give {AGAIN}")').body[0]
    assert isinstance(call, ast.Raise) and isinstance(call.exc, ast.Call)
    assert _template(call.exc.args[0]) == "a rule: {}; give {AGAIN}"
    assert REMEDY.search("a rule: {}; give another") and not REMEDY.search("a rule: it is {}")


def test_a_model_that_is_got_again_is_taken(inputs: Path, tmp_path: Path) -> None:
    """Whatever was wrong with it, at the same path and in the same process."""
    folder, followed = tmp_path / "model", 0
    for spoil in BAD_MODELS.values():
        shutil.copytree(inputs / "model", folder)
        spoil(folder)
        shutil.rmtree(folder)
        shutil.copytree(inputs / "model", folder)
        check_model(folder)
        followed += 1
        shutil.rmtree(folder)
    shutil.copytree(inputs / "model", folder)
    load_tokenizer(folder)
    assert followed == len(BAD_MODELS)


MEND = ["lexicon", "mend", "table.csv", "--out"]
BUILD = ["lexicon", "build", "corpus.txt", "--base", "model", "--out"]
ANALYSE = ["analyse", "model"]
PATHS: dict[str, tuple[list[str], list[str]]] = {
    "no column": ([*MEND, "a.txt", "--column", "9"], [*MEND, "a.txt", "--column", "1"]),
    "onto the list": ([*MEND, "table.csv"], [*MEND, "b.txt"]),
    "onto a folder": ([*MEND, "folder"], [*MEND, "c.txt"]),
    "onto another file": ([*MEND, "corpus.txt"], [*MEND, "d.txt"]),
    "by force": ([*MEND, "old.txt"], [*MEND, "old.txt", "--force"]),
    "a long name": ([*MEND, "x" * 300], [*MEND, "e.txt"]),
    "into a file": ([*MEND, "corpus.txt/x"], [*MEND, "f.txt"]),
    "a list named as a table": ([*BUILD, "g.csv"], [*BUILD, "g.txt"]),
    "a base that isn't there": ([*BUILD[:4], "./gone", "--out", "h.txt"], [*BUILD, "h.txt"]),
    "limits that leave nothing": ([*BUILD, "l.txt", "--min-count", "99999"], [*BUILD, "l.txt"]),
    "an empty list": (["lexicon", "mend", "empty.txt", "--out", "m.txt"], [*MEND, "m.txt"]),
    "no new rows": ([*ANALYSE, "--base-size", "600"], [*ANALYSE, "--base-size", "500", "--out", "n"]),
    "rows of one kind": (ANALYSE, [*ANALYSE, "--base-size", "500", "--out", "o"]),
    "an export's note": (["analyse", "noted"], ["analyse", "model", "--base-size", "500", "--out", "p"]),
    "another analysis": (
        [*ANALYSE, "--base-size", "400", "--out", "n"],
        [*ANALYSE, "--base-size", "400", "--out", "q"],
    ),
    "references": (
        ["analyse", "model", "--base-size", "500", "--references", "9-3"],
        ["analyse", "model", "--base-size", "500", "--references", "3-9", "--out", "i"],
    ),
    "a model that isn't there": (["analyse", "gone"], ["analyse", "model", "--base-size", "500", "--out", "j"]),
    "a text for a model": (
        ["analyse", "corpus.txt"],
        ["analyse", "model/model.safetensors", "--base-size", "500", "--out", "k"],
    ),
}
SETTINGS: dict[str, tuple[list[str], list[str]]] = {
    "model": (["model.path=./gone"], ["model.path=model"]),
    "corpus": (["corpus.path=gone.txt"], ["corpus.path=corpus.txt"]),
    "corpus that is empty": (["corpus.path=empty.txt"], ["corpus.path=corpus.txt"]),
    "corpus of NULs": (["corpus.path=nulls.txt"], ["corpus.path=corpus.txt"]),
    "corpus that is short": (["corpus.path=short.txt"], ["corpus.path=corpus.txt"]),
    "blocks that are long": (["corpus.block_tokens=100000"], ["corpus.block_tokens=32"]),
    "lexicon of comments": (["vocabulary.lexicon=comments.txt"], ["vocabulary.lexicon=mended-comments.txt"]),
    "lexicon with a bad line": (["vocabulary.lexicon=bad.txt"], ["vocabulary.lexicon=mended-bad.txt"]),
    "lexicon the base has": (["vocabulary.lexicon=known.txt"], ["vocabulary.lexicon=lexicon.txt"]),
    "no beginning token": (["model.path=no-bos", "corpus.bos=always"], ["model.path=no-bos", "corpus.bos=auto"]),
}
PROFILES = {
    "a value that is computed": ("study: {name: '${a}'}\n", "name: '${a}'", "name: a"),
    "a reference": ("study: &a {name: a}\n", "&a ", ""),
    "a tag": ("study: !!map {name: a}\n", "!!map ", ""),
    "a key that is a number": ("study: {name: a, 3: 4}\n", ", 3: 4", ""),
}


@pytest.fixture
def there(inputs: Path, tmp_path: Path) -> Path:
    for name in ("corpus.txt", "lexicon.txt"):
        shutil.copy(inputs / name, tmp_path / name)
    shutil.copytree(inputs / "model", tmp_path / "model")
    shutil.copytree(inputs / "model", tmp_path / "no-bos")
    config = tmp_path / "no-bos" / "tokenizer_config.json"
    config.write_text(re.sub(r'"bos_token": "<s>"', '"bos_token": null', config.read_text()))
    shutil.copytree(inputs / "model", tmp_path / "noted")
    (tmp_path / "noted" / "wake2vec.json").write_text("{")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    for name, data in {
        "empty.txt": "",
        "nulls.txt": "\0" * 4096,
        "short.txt": "haue vpon\n",
        "comments.txt": "# haue\n#vpon\n",
        "mended-comments.txt": "# haue\nvpon\n",
        "bad.txt": "haue\nvp on\nloue\nzephyrous\n",
        "mended-bad.txt": "haue\nvpon\nloue\nzephyrous\n",
        "known.txt": "the\n",
        "old.txt": "mine\n",
        "table.csv": "word;count\nhaue;3\n",
    }.items():
        (tmp_path / name).write_text(data)
    return tmp_path


def test_another_path_or_value_is_taken(there: Path) -> None:
    for name, (wrong, right) in PATHS.items():
        told = command(wrong, there, apart=False)
        assert told.fault == "" and REMEDY.search(told.errors), (name, told)
        assert command(right, there, apart=False).runs, name
    small = ["corpus.block_tokens=32", "train.batch_blocks=2", "machine.threads=1", "study.anchors=null"]
    small += ["model.path=model", "corpus.path=corpus.txt", "vocabulary.lexicon=lexicon.txt", "vocabulary.form=word"]
    small += ["retention.path=corpus.txt"]
    for name, (wrong, right) in SETTINGS.items():
        told = one_step([*small, *wrong], there, apart=False)
        assert told.fault == "" and REMEDY.search(told.errors), (name, told)
        done = one_step([*small, *right], there, apart=False)
        assert done.runs, (name, done.said)
    for name, (text, wrong_part, right_part) in PROFILES.items():
        told = []
        for content in (text, text.replace(wrong_part, right_part)):
            (there / "own.yaml").write_text(content)
            told.append(command(["status", "own.yaml"], there, apart=False).errors)
        assert REMEDY.search(told[0]) and "study.trials: Field required" in told[1], name
    for wrong in ("what?", "corpus.txt", "corpus.txt/results", "x" * 300):
        assert command(["status", "--folder", wrong], there, apart=False).fault == ""
    right = command(["status", "--folder", "results"], there, apart=False).errors
    assert "results holds no study" in right
