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
 * Decides as it did in training: compile without -ffast-math.
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
    int usual; /* how many of them, from the newest on, lie in [-1, 1] */
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

/* Keep the inputs that are not 0, or above 0 after a ReLU: the others add nothing. Filled up with zeros to a
 * multiple of four; place -1 is the end. */
#define KEEP(name, real) \\
    static void name(const real *inputs, int count, int relu, real *values, int *places) \\
    {{ \\
        int i, n = 0; \\
        for (i = 0; i < count; i++) {{ \\
            values[n] = inputs[i]; \\
            places[n] = i; \\
            n += relu ? inputs[i] > 0 : inputs[i] != 0; \\
        }} \\
        for (; n % 4 != 0; n++) {{ \\
            values[n] = 0; \\
            places[n] = 0; \\
        }} \\
        places[n] = -1; \\
    }}

/* sums = bias + inputs * weight. */
#define LINEAR(layer, name, keep, real, count, size) \\
    static void name(const real *inputs, int relu, real *sums) \\
    {{ \\
        real values[(count) + 4]; \\
        int places[(count) + 4], i, j; \\
        keep(inputs, count, relu, values, places); \\
        for (j = 0; j < (size); j++) \\
            sums[j] = layer##_bias[j]; \\
        for (i = 0; places[i] >= 0; i += 4) {{ \\
            const float *a = layer##_weight[places[i]], *b = layer##_weight[places[i + 1]]; \\
            const float *c = layer##_weight[places[i + 2]], *d = layer##_weight[places[i + 3]]; \\
            const real p = values[i], q = values[i + 1], r = values[i + 2], s = values[i + 3]; \\
            for (j = 0; j < (size); j++) \\
                sums[j] += (p * a[j] + q * b[j]) + (r * c[j] + s * d[j]); \\
        }} \\
    }}

/* The largest score, the first of equal ones; -1 where another is less than `margin` behind. */
#define LARGEST(name, real) \\
    static int name(const real *scores, int count, real margin) \\
    {{ \\
        int i, best = 0; \\
        for (i = 1; i < count; i++) \\
            if (scores[i] > scores[best]) \\
                best = i; \\
        for (i = 0; i < count; i++) \\
            if (i != best && scores[best] - scores[i] < margin) \\
                return -1; \\
        return best; \\
    }}

/* The cell of an axis that x lies in: how many begin at x or before; -1 where x is within `margin` of one. */
#define CELL(name, real) \\
    static int name(real x, const double *begins, int count, real margin) \\
    {{ \\
        int i, n = 0; \\
        for (i = 0; i < count; i++) {{ \\
            if (x - begins[i] < margin && begins[i] - x < margin) \\
                return -1; \\
            n += x >= begins[i]; \\
        }} \\
        return n; \\
    }}
{passes}
void dvfo_policy_reset(dvfo_policy *policy)
{{
    policy->begun = 0;
}}

int dvfo_policy_decide(dvfo_policy *policy, const float *observation, int *action)
{{
    int i, usual = 1;
    for (i = 0; i < DVFO_FEATURES; i++) {{
        if (!(observation[i] - observation[i] == 0.0f)) /* not a number, or infinite */
            return -1;
        usual = usual && observation[i] >= -1.0f && observation[i] <= 1.0f;
    }}
    for (i = DVFO_FEATURES * DVFO_HISTORY - 1; i >= 0; i--)
        policy->seen[i] = i < DVFO_FEATURES || !policy->begun ? observation[i % DVFO_FEATURES]
                                                              : policy->seen[i - DVFO_FEATURES];
    if (!usual)
        policy->usual = 0;
    else if (!policy->begun)
        policy->usual = DVFO_HISTORY;
    else if (policy->usual < DVFO_HISTORY)
        policy->usual++;
    policy->begun = 1;
{call}
    return 0;
}}
"""

FAST = """
/* In float, which is quick, for observations in [-1, 1]: returns -1 where rounding could matter, because the
 * worst error of a score was worked out beforehand, with every input as large as it can be. */
"""

SURE = """
/* In double: products of floats are exact, and the order of a sum moves its sixteenth digit. */
"""

DECIDE = """
static int decide_{suffix}(const float *seen, int *action)
{{
    {real} inputs[DVFO_FEATURES * DVFO_HISTORY];
{variables}
    int i;
    for (i = 0; i < DVFO_FEATURES * DVFO_HISTORY; i++)
        inputs[i] = seen[i];
{body}
    return 0;
}}
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
