"""tests/ mirrors clipkit/: each module has its tests, and each test file its module."""

import ast
from pathlib import Path

from tests.conftest import ROOT

# Tests of what no single module does: of a whole package, a document or a whole program.
OF_NO_SINGLE_MODULE = {
    "cli/test_duplicates_on_disk",
    "doctor/test_planted_faults",
    "cli/test_hostile_folder",
    "cli/test_pair_layouts",
    "demo/test_accessibility",
    "demo/test_mcp",
    "demo/test_page",
    "demo/test_safety",
    "inputs/test_formats",
    "models/test_load",
    "models/test_parity",
    "models/test_quick_gelu",
    "runs/test_own_training",
    "runs/test_processes",
    "runs/test_resume",
    "runs/test_torchrun",
    "runs/test_two_nodes",
    "runtime/test_families",
    "search/store/milvus/test_server",
    "search/test_crops",
    "search/store/milvus/test_server_access",
    "search/store/test_conformance",
    "search/test_disks",
    "search/test_histories",
    "search/test_kill",
    "search/test_links",
    "search/test_migration",
    "search/test_processes",
    "search/test_search_input",
    "server/test_clients",
    "server/test_container",
    "server/test_hostile",
    "test_coming_from_training",
    "test_cluster",
    "test_docs",
    "test_engines",
    "test_layout",
    "test_notebooks",
    "test_public_api",
    "test_readme",
    "test_samples",
    "test_start_up",
    "test_weights",
}
# Modules without a test file of their own, and the one that tests them.
TESTED_IN = {
    "bulk_embedding/done_work": "bulk_embedding/test_embed",
    "bulk_embedding/embedding_files": "bulk_embedding/test_embed",
    "bulk_embedding/image_list": "bulk_embedding/test_source",
    "bulk_embedding/images": "bulk_embedding/test_source",
    "bulk_embedding/local_engine": "bulk_embedding/test_embed",
    "bulk_embedding/manifest": "bulk_embedding/test_embed",
    "bulk_embedding/output_folder": "bulk_embedding/test_embed",
    "bulk_embedding/parts": "bulk_embedding/test_source",
    "bulk_embedding/separate_process": "bulk_embedding/test_part_worker",
    "cli/classify_output": "cli/test_classify",
    "__main__": "cli/test_main",
    "cli/export": "search/test_export",
    "cli/fetch": "cli/test_models",
    "cli/indexing": "cli/test_index",
    "cli/model_options": "cli/test_main",
    "cli/pair_options": "cli/test_pair_layouts",
    "cli/parser": "cli/test_main",
    "cli/index_options": "cli/test_index",
    "cli/report_lines": "cli/test_index",
    "cli/search_options": "cli/test_search",
    "cli/search_query": "cli/test_search",
    "cli/search_results": "cli/test_search",
    "cli/search_sync": "cli/test_search",
    "cli/taught_concepts": "cli/test_teach",
    "cli/values": "cli/test_index",
    "data/shard_listing": "data/test_webdataset",
    "data/shard_samples": "data/test_webdataset",
    "data/stream_sample": "runs/test_run_stream",
    "data/table_rows": "data/test_table",
    "inputs/decoder_name": "inputs/test_truncated",
    "inputs/extensions": "inputs/test_folders",
    "inputs/image_input": "inputs/test_images",
    "models/published_names": "models/test_sources",
    "evaluation/audit/column": "evaluation/audit/test_audit",
    "evaluation/audit/concepts": "evaluation/audit/test_audit",
    "evaluation/audit/findings": "evaluation/audit/test_audit",
    "evaluation/audit/plots": "evaluation/audit/test_report_page",
    "evaluation/audit/report": "evaluation/audit/test_audit",
    "evaluation/audit/scores": "evaluation/audit/test_audit",
    "evaluation/card/motif_pairs": "evaluation/card/test_measure",
    "evaluation/card/report": "evaluation/card/test_text",
    "evaluation/card/single_motifs": "evaluation/card/test_measure",
    "evaluation/card/things": "evaluation/card/test_measure",
    "runtime/compiled_autotune": "runtime/test_openvino_runtime",
    "runtime/gate": "runtime/test_compile",
    "runtime/onnx_graph": "runtime/test_quantize",
    "doctor/description": "doctor/test_model",
    "doctor/golden": "doctor/test_planted_faults",
    "doctor/health": "doctor/test_model",
    "models/other_activation": "doctor/test_behaviour",
    "models/stored_tensors": "doctor/test_weights",
    "adaptation/classifier_tensors": "adaptation/test_head",
    "cli/adapt_outputs": "cli/test_adapt",
    "cli/concept_hints": "cli/test_teach",
    "runs/adaptation_task": "runs/test_adapt",
    "runs/adapted_model": "runs/test_trained_rungs",
    "adaptation/options": "runs/test_adapt",
    "adaptation/report": "runs/test_adapt",
    "adaptation/rung": "adaptation/test_ladder",
    "adaptation/task": "adaptation/test_ladder",
    "data/benchmark_layout": "evaluation/test_evaluate",
    "encoder/embedded_images": "evaluation/test_evaluate",
    "data/labelled_images": "evaluation/test_evaluate",
    "search/duplicates/leaks": "evaluation/test_evaluate",
    "cli/evaluation_options": "cli/test_evaluate",
    "cli/label_arguments": "cli/test_classify",
    "evaluation/comparison_text": "evaluation/test_comparison",
    "evaluation/probe_evaluation": "evaluation/test_evaluate",
    "evaluation/report": "evaluation/test_evaluate",
    "evaluation/zero_shot_classification": "evaluation/test_evaluate",
    "evaluation/report_text": "cli/test_evaluate",
    "zero_shot/image_classifier": "zero_shot/test_classifier",
    "models/public_name": "runs/test_model_card",
    "models/standard_names": "zero_shot/test_templates",
    "models/config_values": "models/test_transformers_layout_faults",
    "models/hub_cache": "models/test_hub",
    "models/vocabulary_check": "models/test_transformers_layout_faults",
    "runs/verdict_notes": "runs/test_verdict",
    "models/own_settings": "models/test_transformers_layout",
    "models/transformers_preprocess": "models/test_transformers_layout",
    "models/transformers_tokenizer": "models/test_transformers_layout",
    "models/transformers_weights": "models/test_transformers_layout",
    "demo/adapt_data": "demo/test_adapt_tab",
    "demo/api_calls": "demo/test_safety",
    "demo/app": "demo/test_safety",
    "demo/classify_images": "demo/test_classify_tab",
    "demo/classify_results": "demo/test_classify_tab",
    "demo/download": "demo/test_classify_tab",
    "demo/duplicates": "demo/test_selection_page",
    "demo/heat_map": "demo/test_classify_tab",
    "demo/image_grid": "demo/test_page",
    "demo/image_store": "demo/test_safety",
    "demo/image_tray": "demo/test_classify_tab",
    "demo/map_routes": "demo/test_map_tab",
    "demo/indexing_line": "demo/test_folder_indexer",
    "demo/step_progress": "demo/test_model_fetch",
    "demo/messages": "demo/test_safety",
    "demo/request_filter": "demo/test_safety",
    "demo/search_session": "demo/test_page",
    "demo/search_tab": "demo/test_page",
    "demo/server": "demo/test_safety",
    "demo/web_component": "demo/test_classify_tab",
    "server/app": "server/test_operations",
    "server/mcp_tools": "server/test_clients",
    "server/requests": "server/test_refusals",
    "server/responses": "server/test_schema",
    "server/routes": "server/test_hostile",
    "server/served_library": "server/test_operations",
    "server/served_model": "server/test_operations",
    "server/settings": "server/test_gate",
    "encoder/image_batches": "encoder/test_encoder",
    "encoder/text_embedding": "encoder/test_encoder",
    "explanation/drawing": "cli/test_explain",
    "explanation/patches": "explanation/test_last_block",
    "explanation/towers": "explanation/test_explain",
    "inputs/animation": "inputs/test_formats",
    "inputs/clip_vocabulary": "inputs/test_tokenizer",
    "inputs/deferred_image": "inputs/test_tiff",
    "inputs/read_errors": "inputs/test_images",
    "inputs/text_cleaning": "inputs/test_tokenizer",
    "inputs/tokenizer_settings": "inputs/test_tokenizer",
    "models/known_models": "models/test_sources",
    "models/listing": "cli/test_models",
    "models/near_names": "models/test_sources",
    "models/open_clip_config": "models/test_checkpoint",
    "models/lora_info": "models/test_lora",
    "models/safetensors_header": "models/test_checkpoint",
    "paths": "runtime/test_cache",
    "plain_text": "cli/test_terminal",
    "search/contact_sheet": "cli/test_contact_sheet",
    "runs/build": "runs/test_run",
    "runs/callbacks": "runs/test_run",
    "runs/finalize": "runs/test_run",
    "runs/preflight_report": "runs/test_preflight",
    "runs/rank_run": "runs/test_run",
    "runs/validation": "runs/test_run",
    "runtime/base": "runtime/test_torch_runtime",
    "runtime/onnx_export": "runtime/test_compile",
    "search/closing": "search/test_library",
    "search/crop_ingest": "search/test_crops",
    "search/store/local/crop_file": "search/test_crops",
    "search/folder_index": "search/test_library",
    "search/folder_state": "search/test_ingest",
    "search/query_vectors": "search/test_ranking",
    "search/status": "search/test_library",
    "search/store/base": "search/store/test_conformance",
    "search/store/local/rows": "search/store/local/test_catalog",
    "search/store/local/schema": "search/store/local/test_catalog",
    "search/store/local/snapshot": "search/test_library",
    "search/store/local/writer": "search/test_ingest",
    "search/remote_place": "search/test_store_sync",
    "search/store/milvus/snapshot": "search/store/test_conformance",
    "search/store/records": "search/test_ingest",
    "search/stored_embeddings": "search/test_export",
    "search/survey": "search/test_ingest",
    "search/sync": "search/test_library",
    "training/config_keys": "training/test_config_file",
    "training/config_paths": "training/test_config_file",
    "training/data_config": "training/test_config_file",
    "training/input_fingerprints": "training/test_trainer",
    "training/model_config": "training/test_config_file",
    "training/config_values": "training/test_config_file",
    "training/pair_reading": "training/test_data_loading",
    "training/trained_towers": "training/test_step",
    "zero_shot/label_scores": "zero_shot/test_classifier",
    "zero_shot/labels": "zero_shot/test_classifier",
    "zero_shot/own_labels": "zero_shot/test_classifier",
    "zero_shot/probabilities": "zero_shot/test_label_evidence",
}
# Folders of tests that mirror another tree: `benchmarks`, the recipe, files of the past.
OTHER_TREES = {"benchmarks", "compatibility", "recipe"}


def test_every_module_with_public_names_has_tests() -> None:
    files = _test_files()
    untested = {
        module
        for module in filter(_has_public_names, _modules())
        if not any(_is_test_of(file, module) for file in files)
    }
    missing = {module for module in untested if TESTED_IN.get(module) not in files}
    assert missing == set(), "write tests/<package>/test_<module>.py, or list it in TESTED_IN"


def test_every_test_file_names_a_module() -> None:
    modules = _modules()
    astray = {
        file
        for file in _test_files() - OF_NO_SINGLE_MODULE
        if not any(_is_test_of(file, module) for module in modules)
    }
    assert astray == set(), "name it test_<module>.py or test_<module>_<aspect>.py, or list it"


def _modules() -> set[str]:
    """Return the modules of clipkit as paths: "search/query"."""
    folder = ROOT / "clipkit"
    return {_name(path, folder) for path in folder.rglob("*.py") if path.name != "__init__.py"}


def _test_files() -> set[str]:
    """Return the files with tests of clipkit as paths: "search/test_query"."""
    folder = ROOT / "tests"
    files = {_name(path, folder) for path in folder.rglob("test_*.py")}
    return {file for file in files if file.partition("/")[0] not in OTHER_TREES}


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _is_test_of(file: str, module: str) -> bool:
    """Whether a file is test_<module>.py or test_<module>_<aspect>.py in the module's folder."""
    folder, _, name = module.rpartition("/")
    start = f"{folder}/test_{name}".removeprefix("/")
    return file == start or file.startswith(f"{start}_")


def _has_public_names(module: str) -> bool:
    source = (ROOT / "clipkit" / f"{module}.py").read_text(encoding="utf-8")
    return any(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        for node in ast.parse(source).body
    )
