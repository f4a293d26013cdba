"""What a folder may be found to be, and the tests that show what then happens."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOWN_BY = {
    "the folder of a running daemon": [
        "tests/door/test_twistd.py::test_a_held_lock_ends_the_start_and_names_who_holds_it",
        "tests/storage/test_opening.py::test_the_second_process_is_told_who_has_it",
    ],
    "the folder of a newer version": ["tests/storage/test_opening.py::test_another_version_is_not_touched"],
    "somebody else's folder": [
        "tests/door/test_twistd.py::test_a_foreign_folder_ends_the_start_and_stays_as_it_is"
    ],
    "a read-only file system": [
        "tests/system/test_disk.py::test_a_read_only_disk_serves_what_it_has_and_passes_the_rest",
        "tests/system/test_disk.py::test_a_first_start_on_a_read_only_disk",
        "tests/storage/test_scrubbing.py::test_a_disk_that_lets_nothing_be_moved",
    ],
    "a full file system": [
        "tests/system/test_disk.py::test_a_disk_that_is_full_from_the_start",
        "tests/system/test_disk.py::test_a_disk_that_another_process_fills_in_the_middle",
    ],
    "inodes exhausted": [
        "tests/system/test_disk.py::test_a_disk_without_room_for_more_files",
        "tests/storage/test_health.py::test_no_room_for_files_is_full_too",
    ],
    "state with entries for what is gone": [
        "tests/expiry/test_compared.py::test_entries_of_what_is_gone_go_with_the_survey"
    ],
    "state with paths in it": [
        "tests/expiry/test_compared.py::test_paths_in_the_state_are_no_entries",
        "tests/upkeep/test_record.py::test_a_cursor_that_is_none",
        "tests/eviction/test_pins.py::test_lines_that_are_no_pins",
    ],
    "a damaged state": [
        "tests/expiry/test_damaged_state.py::test_a_state_that_is_none_is_moved_aside",
        "tests/upkeep/test_record.py::test_bits_that_flip",
    ],
    "bit flips in blobs, records and tags": [
        "tests/system/test_bad_bits.py::test_any_bits",
        "tests/storage/test_bad_bits.py::test_any_bits_of_blobs_records_and_tags",
        "tests/storage/test_scrubbing.py::test_any_bit",
        "tests/storage/test_records.py::test_one_odd_field_raises_nothing_and_is_never_taken_over",
        "tests/storage/test_spoilt.py::test_a_manifest_that_rotted_is_never_served",
        "tests/system/test_scrub.py::test_what_rots_is_found_and_what_is_pinned_comes_back",
    ],
    "a blob of another size": [
        "tests/storage/test_mending.py::test_content_of_another_size_is_set_aside",
        "tests/storage/test_store.py::test_what_is_not_whole_is_a_miss_and_can_be_filled_again",
    ],
    "a folder from an old backup": [
        "tests/storage/test_backup.py::test_a_backup_over_what_is_there_and_alone",
        "tests/storage/test_mending.py::test_links_without_content_go",
    ],
    "what a kill left": [
        "tests/system/test_killed_mixed.py::test_nothing_is_wrong_after_any_kill",
        "tests/system/test_killed_mixed.py::test_what_is_wrong_would_be_found",
        "tests/eviction/test_pins.py::test_what_a_kill_left_of_a_change_goes_at_the_next_start",
        "tests/upkeep/test_record.py::test_what_a_kill_left_of_a_change_goes_at_the_next_start",
    ],
    "pins that cannot be read": [
        "tests/eviction/test_pins.py::test_a_file_that_cannot_be_read_is_not_replaced"
    ],
    "content that is not mounted": [
        "tests/storage/test_mending.py::test_a_folder_that_is_not_mounted_costs_nothing"
    ],
    "I/O errors": [
        "tests/system/test_bad_disk.py::test_calls_that_fail",
        "tests/storage/test_scrubbing.py::test_what_the_disk_fails_to_read_is_set_aside",
        "tests/storage/test_scrubbing.py::test_one_bad_reading_costs_nothing",
        "tests/upkeep/test_scrubber.py::test_a_disk_that_fails_is_left_alone",
        "tests/storage/test_spoilt.py::test_a_bad_sector_under_a_manifest_is_a_miss",
        "tests/storage/test_kill.py::test_a_disk_that_refuses_at_each_step",
    ],
}


@pytest.mark.parametrize("what", SHOWN_BY)
def test_the_table_names_tests_that_there_are(what: str) -> None:
    for test in SHOWN_BY[what]:
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text("utf-8"))
        there = {
            each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in there, test
