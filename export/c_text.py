"""Pieces of C99 text: constants, and what is the same in every policy.c."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH = 110

HEADER = """\
/* {about}: which joint action the next request is served with.
 *
 * Made by dvfo export; C99, no memory allocated, nothing printed{libm}.
 *
 *     dvfo_policy policy;
 *     int action[DVFO_PARTS];
 *     dvfo_policy_reset(&policy);
 *     if (dvfo_policy_decide(&policy, observation, action) == 0)
 *         the CPU goes to dvfo_cpu_mhz[action[DVFO_CPU]] MHz, and so on
 *
 * The observation, [features] in this order (x limited to [low, 1]):
{features} */
#ifndef DVFO_POLICY_H
#define DVFO_POLICY_H

enum {{
    DVFO_FEATURES = {features_count}, /* numbers of an observation */
    DVFO_HISTORY = {history}, /* observations that are remembered, the newest included */
    DVFO_PARTS = {parts_count} /* of a joint action */
}};

/* The parts of a joint action, and how many choices each has. */
enum {{ {parts} }};
enum {{ {sizes} }};

/* What the indices stand for: names, MHz (0: no such clock), and what encodes at each cut on each level. */
{declarations}

typedef struct {{
    float seen[DVFO_FEATURES * DVFO_HISTORY]; /* newest first */
    int begun;
}} dvfo_policy;

/* Forget everything: a new session begins. */
void dvfo_policy_reset(dvfo_policy *policy);

/* Decide: writes DVFO_PARTS indices and returns 0, or returns -1 where a feature is not finite. */
int dvfo_policy_decide(dvfo_policy *policy, const float *observation, int *action);

#endif
"""

SOURCE = """\
/* {about}. Made by dvfo export. */
{include}#include "policy.h"

{choices}

{constants}

/* Keep the inputs that are not 0, or above 0 after a ReLU: the others add nothing. Padded with zeros to a
 * multiple of four; returns how many were kept. */
static int kept(const double *inputs, int count, int relu, double *values, int *places)
{{
    int i, n = 0;
    for (i = 0; i < count; i++) {{
        values[n] = inputs[i];
        places[n] = i;
        n += relu ? inputs[i] > 0.0 : inputs[i] != 0.0;
    }}
    for (i = n; i < n + 3; i++) {{
        values[i] = 0.0;
        places[i] = 0;
    }}
    return n;
}}

/* sums = bias + inputs * weight, in double: products of floats are exact. */
#define LINEAR(name, count, size) \\
    static void name(const double *inputs, int relu, double *sums) \\
    {{ \\
        double values[(count) + 3]; \\
        int places[(count) + 3]; \\
        const int n = kept(inputs, count, relu, values, places); \\
        int i, j; \\
        for (j = 0; j < (size); j++) \\
            sums[j] = name##_bias[j]; \\
        for (i = 0; i < n; i += 4) {{ \\
            const float *a = name##_weight[places[i]], *b = name##_weight[places[i + 1]]; \\
            const float *c = name##_weight[places[i + 2]], *d = name##_weight[places[i + 3]]; \\
            const double p = values[i], q = values[i + 1], r = values[i + 2], s = values[i + 3]; \\
            for (j = 0; j < (size); j++) \\
                sums[j] += (p * a[j] + q * b[j]) + (r * c[j] + s * d[j]); \\
        }} \\
    }}

{layers}
{helpers}
void dvfo_policy_reset(dvfo_policy *policy)
{{
    policy->begun = 0;
}}

int dvfo_policy_decide(dvfo_policy *policy, const float *observation, int *action)
{{
    double inputs[DVFO_FEATURES * DVFO_HISTORY];
{variables}
    int i;
    for (i = 0; i < DVFO_FEATURES; i++)
        if (!(observation[i] - observation[i] == 0.0f))
            return -1;
    for (i = DVFO_FEATURES * DVFO_HISTORY - 1; i >= 0; i--) {{
        if (i < DVFO_FEATURES || !policy->begun)
            policy->seen[i] = observation[i % DVFO_FEATURES];
        else
            policy->seen[i] = policy->seen[i - DVFO_FEATURES];
        inputs[i] = policy->seen[i];
    }}
    policy->begun = 1;
{body}
    return 0;
}}
"""

LARGEST = """
static int largest(const double *scores, int count)
{
    int i, best = 0;
    for (i = 1; i < count; i++)
        if (scores[i] > scores[best])
            best = i;
    return best;
}
"""

CELL = """
/* The cell of an axis that x lies in: how many of the others begin at x or before. */
static int cell(double x, const double *begins, int count)
{
    int i, n = 0;
    for (i = 0; i < count; i++)
        n += x >= begins[i];
    return n;
}
"""

SQUASH = """
static void squash(double *sums, int count)
{
    int i;
    for (i = 0; i < count; i++)
        sums[i] = tanh(sums[i]);
}
"""


def constant(kind: str, name: str, values: NDArray[Any], *, static: bool = True) -> str:
    """A constant array of numbers of one or two dimensions, every digit that matters."""
    shape = "".join(f"[{size}]" for size in values.shape)
    rows = values.reshape(-1, values.shape[-1])
    braced = [f"{{{', '.join(_number(kind, value) for value in row)}}}" for row in rows]
    body = braced[0] if values.ndim == 1 else "{" + ",\n".join(braced) + "}"
    lines = [_wrapped(line) for line in body.split("\n")]
    return f"{'static ' if static else ''}const {kind} {name}{shape} = " + "\n".join(lines).lstrip() + ";"


def strings(name: str, values: Sequence[Any]) -> str:
    """A constant array of strings, of one or two dimensions."""
    nested = not isinstance(values[0], str)
    rows = [f"{{{', '.join(_quoted(text) for text in row)}}}" for row in (values if nested else [values])]
    shape = f"[{len(values)}]" + (f"[{len(values[0])}]" if nested else "")
    body = "{" + ",\n".join(rows) + "}" if nested else rows[0]
    lines = [_wrapped(line) for line in body.split("\n")]
    return f"const char *const {name}{shape} = " + "\n".join(lines).lstrip() + ";"


def _number(kind: str, value: Any) -> str:
    if kind == "int":
        return str(int(value))
    if kind == "double":
        return repr(float(value))
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0", exp_digits=1)
    return "0.0f" if value == 0.0 else f"{text.removesuffix('e+0')}f"


def _quoted(text: str) -> str:
    if not text.isascii() or not text.isprintable():
        text = text.encode("ascii", "replace").decode().replace("\n", " ")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("?", "\\?")
    return f'"{escaped}"'


def _wrapped(line: str) -> str:
    return textwrap.fill(
        line,
        WIDTH,
        initial_indent="    ",
        subsequent_indent="     ",
        break_long_words=False,
        break_on_hyphens=False,
    )
