-- SPDX-License-Identifier: MIT
std = "lua54"
max_line_length = 122
unused_args = true
files["spec"] = { std = "+busted" }
files["scripts/examples/hotswap_funcs.lua"] = { allow_defined_top = true, ignore = { "131" } }
