#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write tests/fuzz/corpus/boxes: valid files of boxes, and one file per reason to refuse one."""
import os

HEAD = "slice,x0,y0,x1,y1,label\n"
FILES = {
    "valid_header_and_labels": HEAD + "0,1,2,30,40,1\n0,5,5,9,9,2\n7,1.5,2.5,30.25,40,65535\n",
    "valid_no_header_no_labels": "3,10,20,30,40\n4,10,20,30,40",
    "valid_header_of_five": "slice,x0,y0,x1,y1\n3,10,20,30,40\n",
    "valid_spreadsheet": "\ufeffslice, x0, y0, x1, y1\r\n\r\n 3 ,\t10,20,30,40\r\n",
    "valid_point_sized": "0,5,5,5,5\n",
    "reject_empty": "",
    "reject_only_header": HEAD,
    "reject_only_blank_lines": "\n\r\n\n",
    "reject_header_twice": HEAD + HEAD + "1,2,3,4,5\n",
    "reject_header_of_other_columns": "z,x0,y0,x1,y1\n1,2,3,4,5\n",
    "reject_too_few_fields": "1,2,3,4\n",
    "reject_too_many_fields": "1,2,3,4,5,6,7\n",
    "reject_semicolons": "1;2;3;4;5\n",
    "reject_field_too_long": "1,2,3,4," + "5" * 60 + "\n",
    "reject_not_a_number": "1,2,3,4,five\n",
    "reject_empty_field": "1,2,,4,5\n",
    "reject_nan": "1,nan,3,4,5\n",
    "reject_infinity": "1,2,3,inf,5\n",
    "reject_huge_number": "1,2,3,1e999,5\n",
    "reject_negative_slice": "-1,2,3,4,5\n",
    "reject_fraction_of_a_slice": "1.5,2,3,4,5\n",
    "reject_slice_too_large": "3e9,2,3,4,5\n",
    "reject_label_zero": "1,2,3,4,5,0\n",
    "reject_label_too_large": "1,2,3,4,5,65536\n",
    "reject_fraction_of_a_label": "1,2,3,4,5,1.5\n",
    "reject_corners_swapped_x": "1,9,3,4,5\n",
    "reject_corners_swapped_y": "1,2,9,4,5\n",
    "reject_zero_byte": b"1,2,3,4,5\n1,2\x00,3,4,5\n",
    "reject_binary": bytes(range(1, 256)),
    "reject_second_line_bad": "1,2,3,4,5\n1,2,3,4\n",
}

folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus", "boxes")
os.makedirs(folder, exist_ok=True)
for name in os.listdir(folder):
    os.remove(os.path.join(folder, name))
for name, text in FILES.items():
    with open(os.path.join(folder, name + ".csv"), "wb") as f:
        f.write(text if isinstance(text, bytes) else text.encode())
