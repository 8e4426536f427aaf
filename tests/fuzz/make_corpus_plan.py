#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/fuzz/corpus/plan: valid plans, and one file per reason to refuse one."""
import os

HEAD = "medsamix: 1\nmodels: [human, macaque]\n"

FILES = {
    "valid_canonical": HEAD
    + "groups:\n"
    + "  patch_embed: {method: linear, weight: {base: 0.5, human: 0.3, macaque: 0.2}}\n"
    + "  encoder.0-1: {method: ties, retain: 0.5, scaling: 0.7}\n"
    + "  neck: {method: task_arithmetic, scaling: 0.25}\n"
    + '  "*": {method: slerp, score: {human: 0.9, macaque: 0.8}, ratio: 1}\n',
    "valid_block_style": "# a comment\n---\nmedsamix: 1\ngroups:\n  '*':\n    scaling: 1e-3\n    method: ties\n"
    "granularity:\n  encoder: 2\n  decoder: 4\nmodels:\n- \"no\"\n- a-b_C9\n...\n",
    "valid_define": "medsamix: 1\ndefine:\n  tables: [\"*.rel_pos_?\", '*pos_embed']\n"
    "groups: {tables: {method: linear}}\n",
    "valid_gradient": HEAD
    + "groups:\n"
    + '  "encoder.*": {method: slerp, score: {base: 0.1, human: [0.2, 0.9], macaque: 0.5}, ratio: 1}\n'
    + '  "decoder.?": {method: ties, retain: [0.25], scaling: [0, 0.5, 1]}\n',
    "valid_filters": HEAD
    + "groups:\n"
    + '  "*":\n'
    + "    method: linear\n"
    + "    weight:\n"
    + "      human:\n"
    + "      - {filter: attn, value: [0, 0.5]}\n"
    + "      - {filter: '*.mlp.*', value: 0.3}\n"
    + "      - value: [1, 0]\n"
    + "      macaque: [{filter: neck, value: 0.4}]\n",
    "valid_files": "medsamix: 1\ndtype: bf16\nbase: ../sam vit_b.pth\n"
    'models: {human: "/data/\\"quoted\\\\.pth", macaque: "", "no": äö.safetensors}\ngroups: {}\n',
    "valid_no_groups": "medsamix: 1\ngroups: {}\n",
    "reject_empty": "",
    "reject_only_comment": "# nothing\n",
    "reject_not_yaml": "medsamix: 1\ngroups: {neck: {method: linear}\n",
    "reject_tab_indentation": "medsamix: 1\ngroups:\n\tneck: {method: linear}\n",
    "reject_not_utf8": b"medsamix: 1\ngroups: {neck: {method: \xff\xfe}}\n",
    "reject_control_character": b"medsamix: 1\ngroups: {neck: {method: a\x01}}\n",
    "reject_nul_in_text": 'medsamix: 1\ngroups: {neck: {method: "ties\\0"}}\n',
    "reject_two_documents": "medsamix: 1\ngroups: {}\n---\nmedsamix: 1\ngroups: {}\n",
    "reject_anchor": "medsamix: 1\ngroups: {neck: &a {method: ties}}\n",
    "reject_alias": "medsamix: 1\ngroups: {neck: *a}\n",
    "reject_unquoted_star": "medsamix: 1\ngroups:\n  *: {method: ties}\n",
    "reject_tag": "medsamix: 1\ngroups: {neck: {method: !!str ties}}\n",
    "reject_nested_too_deeply": "medsamix: 1\ngroups: " + "[" * 40 + "\n",
    "reject_key_twice": "medsamix: 1\ngroups: {neck: {method: ties}, neck: {method: linear}}\n",
    "reject_key_not_text": "medsamix: 1\ngroups: {[a]: {method: ties}}\n",
    "reject_too_many_values": "medsamix: 1\ngroups: {}\nmodels: [" + "a," * 4097 + "]\n",
    "reject_list_as_plan": "[medsamix, groups]\n",
    "reject_unknown_key": "medsamix: 1\ngroup: {neck: {method: ties}}\n",
    "reject_no_version": "groups: {}\n",
    "reject_other_version": "medsamix: 2\ngroups: {}\n",
    "reject_version_is_list": "medsamix: [1]\ngroups: {}\n",
    "reject_no_groups": "medsamix: 1\n",
    "reject_groups_is_list": "medsamix: 1\ngroups: [neck]\n",
    "reject_granularity_five": "medsamix: 1\ngranularity: {encoder: 5}\ngroups: {}\n",
    "reject_granularity_unknown": "medsamix: 1\ngranularity: {encodr: 2}\ngroups: {}\n",
    "reject_model_is_base": "medsamix: 1\nmodels: [base]\ngroups: {}\n",
    "reject_model_twice": "medsamix: 1\nmodels: [a, a]\ngroups: {}\n",
    "reject_model_illegal": "medsamix: 1\nmodels: [a.b]\ngroups: {}\n",
    "reject_models_too_many": "medsamix: 1\nmodels: ["
    + ", ".join(f"m{i}" for i in range(65))
    + "]\ngroups: {}\n",
    "reject_models_is_text": "medsamix: 1\nmodels: human\ngroups: {}\n",
    "reject_group_illegal": "medsamix: 1\ngroups: {a/b: {method: ties}}\n",
    "reject_group_is_text": "medsamix: 1\ngroups: {neck: ties}\n",
    "reject_group_without_method": "medsamix: 1\ngroups: {neck: {scaling: 0.5}}\n",
    "reject_method_unknown": "medsamix: 1\ngroups: {neck: {method: teis}}\n",
    "reject_method_is_list": "medsamix: 1\ngroups: {neck: {method: [ties]}}\n",
    "reject_parameter_unknown": "medsamix: 1\ngroups: {neck: {method: ties, scalling: 0.5}}\n",
    "reject_parameter_of_other_method": "medsamix: 1\ngroups: {neck: {method: ties, score: {base: 1}}}\n",
    "reject_parameter_out_of_range": "medsamix: 1\ngroups: {neck: {method: ties, retain: 1.5}}\n",
    "reject_parameter_not_number": "medsamix: 1\ngroups: {neck: {method: ties, retain: half}}\n",
    "reject_parameter_nan": "medsamix: 1\ngroups: {neck: {method: ties, retain: .nan}}\n",
    "reject_parameter_is_nested_list": "medsamix: 1\ngroups: {neck: {method: ties, retain: [[1]]}}\n",
    "reject_gradient_empty": "medsamix: 1\ngroups: {neck: {method: ties, retain: []}}\n",
    "reject_gradient_not_number": "medsamix: 1\ngroups: {neck: {method: ties, retain: [0, half]}}\n",
    "reject_gradient_out_of_range": "medsamix: 1\ngroups: {neck: {method: ties, retain: [0, 2]}}\n",
    "reject_filter_unknown_key": "medsamix: 1\ngroups: {neck: {method: ties, retain: [{filtr: a, value: 1}]}}\n",
    "reject_filter_without_value": "medsamix: 1\ngroups: {neck: {method: ties, retain: [{filter: a}]}}\n",
    "reject_filter_mixed": "medsamix: 1\ngroups: {neck: {method: ties, retain: [{filter: a, value: 1}, 0.5]}}\n",
    "reject_filter_behind_the_rest": "medsamix: 1\ngroups: {neck: {method: ties, "
    "retain: [{value: 1}, {filter: a, value: 1}]}}\n",
    "reject_filter_illegal": "medsamix: 1\ngroups: {neck: {method: ties, retain: [{filter: 'a b', value: 1}]}}\n",
    "reject_filter_is_list": "medsamix: 1\ngroups: {neck: {method: ties, retain: [{filter: [a], value: 1}]}}\n",
    "reject_dtype_unknown": "medsamix: 1\ndtype: bf17\ngroups: {}\n",
    "reject_dtype_whole_number": "medsamix: 1\ndtype: i8\ngroups: {}\n",
    "reject_dtype_is_list": "medsamix: 1\ndtype: [f32]\ngroups: {}\n",
    "reject_base_is_list": "medsamix: 1\nbase: [a.pth]\ngroups: {}\n",
    "reject_base_empty": 'medsamix: 1\nbase: ""\ngroups: {}\n',
    "reject_base_control_character": 'medsamix: 1\nbase: "a\\tb.pth"\ngroups: {}\n',
    "reject_base_line_separator": 'medsamix: 1\nbase: "a\\Lb.pth"\ngroups: {}\n',
    "reject_models_file_is_list": "medsamix: 1\nmodels: {a: [b.pth]}\ngroups: {}\n",
    "reject_models_base_in_mapping": "medsamix: 1\nmodels: {base: b.pth}\ngroups: {}\n",
    "reject_parameter_dotted": HEAD + "groups: {neck: {method: linear, weight.human: 1}}\n",
    "reject_weight_without_model": HEAD + "groups: {neck: {method: linear, weight: 1}}\n",
    "reject_weight_of_unknown_model": HEAD + "groups: {neck: {method: linear, weight: {humn: 1}}}\n",
    "reject_scaling_per_model": HEAD + "groups: {neck: {method: ties, scaling: {human: 1}}}\n",
    "reject_define_without_pattern": "medsamix: 1\ndefine: {a: []}\ngroups: {}\n",
    "reject_define_illegal_pattern": "medsamix: 1\ndefine: {a: ['[x]']}\ngroups: {}\n",
    "reject_define_is_text": "medsamix: 1\ndefine: {a: '*'}\ngroups: {}\n",
}

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "plan")
os.makedirs(folder, exist_ok=True)
for old in os.listdir(folder):
    os.remove(os.path.join(folder, old))
for name, content in FILES.items():
    with open(os.path.join(folder, name + ".yaml"), "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())
