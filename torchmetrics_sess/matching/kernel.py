"""The compiled kernel: matches one pair of scene graphs without the interpreter, and without its lock.

Everything is float64. All of it lives in this one file, because the compile cache notices changes of this file only.
Loops stand where numpy would allocate: a pair takes thousands of assignment problems of a few nodes each.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from torchmetrics_sess.compilation import compiled

Array: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]

GRID = 2.0**52
SUBSET_ROWS = 5


@compiled
def _masses(weight: Array, count: int, mass: Array) -> None:
    """Write the first ``count`` weights to ``mass``, normalised to sum exactly 1.

    Masses are multiples of 2^-52: sums and differences of such numbers below 1 have no rounding error, so that a
    transport plan uses every mass up and leaves no residue to route for ever.
    """
    total = 0.0
    for k in range(count):
        total += weight[k]
    largest = 0
    rest = 1.0
    for k in range(count):
        mass[k] = np.floor(weight[k] / total * GRID + 0.5) / GRID
        rest -= mass[k]
        if mass[k] > mass[largest]:
            largest = k
    mass[largest] += rest


@compiled
def _neighbours(relation: Indices, importance: Array) -> tuple[Indices, Indices, Indices, Array]:
    """List the out-neighbours of all nodes, one node after the other.

    Returns:
        where each node's list starts ``[n + 1]``, and for each neighbour: which node it is, by which predicate it is
        reached, and its share of the importance of all neighbours in the list.
    """
    n = len(importance)
    start = np.zeros(n + 1, np.int64)
    neighbour = np.empty(n * n, np.int64)
    predicate = np.empty(n * n, np.int64)
    share = np.empty(n * n)
    weight = np.empty(n)
    mass = np.empty(n)
    end = 0
    for node in range(n):
        degree = 0
        for other in range(n):
            if relation[node, other] >= 0:
                neighbour[end + degree] = other
                predicate[end + degree] = relation[node, other]
                weight[degree] = importance[other]
                degree += 1
        if degree > 0:
            _masses(weight, degree, mass)
            for k in range(degree):
                share[end + k] = mass[k]
        end += degree
        start[node + 1] = end
    return start, neighbour, predicate, share


@compiled
def _route(
    gain: Array, supply: Array, demand: Array, rows: int, columns: int, flow: Array, numbers: Array, links: Indices
) -> float:
    """Route the whole supply of every row to columns, none beyond its demand, so that flow times gain is greatest.

    Successive shortest augmenting paths with prices (the Hungarian method, with masses in place of single mates): one
    row after the other sends its supply along the paths of least loss, possibly diverting what earlier rows sent.
    Supplies and demands of 1 make it an assignment, which needs ``rows <= columns``.

    Args:
        gain: per unit of flow, ``[>= rows, >= columns]``.
        supply: multiples of 2^-52 up to 1; their sum is at most that of ``demand``.
        demand: likewise, up to 2.
        rows: how many rows of ``gain`` count.
        columns: how many columns of ``gain`` count.
        flow: receives the plan.
        numbers: scratch, ``[4, >= rows and columns]``.
        links: scratch, ``[4, >= rows and columns]``.

    Returns:
        the gain of the whole plan.
    """
    row_price, column_price, distance, left = numbers[0], numbers[1], numbers[2], numbers[3]
    via_row, via_column, queue, order = links[0], links[1], links[2], links[3]
    spare = 0.0
    for column in range(columns):
        spare += demand[column]
    for row in range(rows):
        spare -= supply[row]
    for column in range(columns):
        left[column] = demand[column]
        # Demand that stays unmet must cost nothing; where none does, prices may start close to where they end.
        column_price[column] = 0.0 if spare > 0.0 else gain[0, column]
        for row in range(rows):
            flow[row, column] = 0.0
            if spare <= 0.0:
                column_price[column] = max(column_price[column], gain[row, column])

    for start in range(rows):
        remaining = supply[start]

        best = 0
        for column in range(1, columns):
            if gain[start, column] - column_price[column] > gain[start, best] - column_price[best]:
                best = column
        row_price[start] = gain[start, best] - column_price[best]
        if left[best] >= remaining:
            left[best] -= remaining
            flow[start, best] = remaining
            continue

        while remaining > 0.0:
            for column in range(columns):
                distance[column] = np.inf
                order[column] = column
                via_row[column] = start
            for row in range(rows):
                via_column[row] = -1
            via_column[start] = columns
            queue[0] = start
            reached = 1
            expanded = 0
            settled = 0
            length = 0.0
            intact = True
            while intact and remaining > 0.0:
                while expanded < reached:
                    row = queue[expanded]
                    expanded += 1
                    for k in range(settled, columns):
                        column = order[k]
                        loss = length + row_price[row] + column_price[column] - gain[row, column]
                        if loss < distance[column]:
                            distance[column] = loss
                            via_row[column] = row
                if settled == columns:
                    remaining = 0.0  # nothing can take it: only possible if supply exceeds demand
                    break
                nearest = settled
                for k in range(settled + 1, columns):
                    if distance[order[k]] < distance[order[nearest]]:
                        nearest = k
                end = order[nearest]
                order[nearest] = order[settled]
                order[settled] = end
                settled += 1
                length = distance[end]

                if left[end] > 0.0:
                    amount = min(remaining, left[end])
                    row = via_row[end]
                    while row != start:
                        amount = min(amount, flow[row, via_column[row]])
                        row = via_row[via_column[row]]
                    remaining -= amount
                    left[end] -= amount
                    row = via_row[end]
                    flow[row, end] += amount
                    while row != start:
                        column = via_column[row]
                        flow[row, column] -= amount
                        # The paths found so far run through every flow that they divert.
                        intact = intact and flow[row, column] > 0.0
                        row = via_row[column]
                        flow[row, column] += amount

                for row in range(rows):
                    if flow[row, end] > 0.0 and via_column[row] < 0:
                        via_column[row] = end
                        queue[reached] = row
                        reached += 1

            row_price[start] -= length
            for k in range(1, reached):
                row_price[queue[k]] -= length - distance[via_column[queue[k]]]
            for k in range(settled):
                column_price[order[k]] += length - distance[order[k]]

    total = 0.0
    for row in range(rows):
        for column in range(columns):
            total += flow[row, column] * gain[row, column]
    return total


@compiled
def _route_with_slack(
    gain: Array,
    row_mass: Array,
    column_mass: Array,
    slack: float,
    rows: int,
    columns: int,
    flow: Array,
    turned_gain: Array,
    turned_flow: Array,
    capacity: Array,
    numbers: Array,
    links: Indices,
) -> tuple[float, float]:
    """Route the mass of all rows, then that of all columns, to nodes that may each take ``slack`` more than their own.

    Returns:
        the gain of either plan; ``flow`` receives the first plan and ``turned_flow`` the second, transposed.
    """
    for column in range(columns):
        capacity[column] = np.floor((1.0 + slack) * column_mass[column] * GRID) / GRID
    by_row = _route(gain, row_mass, capacity, rows, columns, flow, numbers, links)
    for row in range(rows):
        capacity[row] = np.floor((1.0 + slack) * row_mass[row] * GRID) / GRID
        for column in range(columns):
            turned_gain[column, row] = gain[row, column]
    by_column = _route(turned_gain, column_mass, capacity, columns, rows, turned_flow, numbers, links)
    return by_row, by_column


@compiled
def _assign_subsets(
    benefit: Array, row_weight: Array, column_weight: Array, rows: int, columns: int, best: Array
) -> tuple[float, float]:
    """Return the maximum-weight assignments with rows scaled, and with columns scaled, for very few rows.

    ``best[subset]`` is the most that the columns seen so far give to a subset of the rows. For five rows and fewer this
    takes a fraction of the time of searching paths.
    """
    subsets = 1 << rows
    for subset in range(1, subsets):
        best[0, subset] = -np.inf
        best[1, subset] = -np.inf
    best[0, 0] = 0.0
    best[1, 0] = 0.0
    for column in range(columns):
        for subset in range(subsets - 1, 0, -1):
            by_row = best[0, subset]
            by_column = best[1, subset]
            for row in range(rows):
                if subset >> row & 1:
                    rest = subset ^ (1 << row)
                    by_row = max(by_row, best[0, rest] + benefit[row, column] * row_weight[row])
                    by_column = max(by_column, best[1, rest] + benefit[row, column] * column_weight[column])
            best[0, subset] = by_row
            best[1, subset] = by_column
    return best[0, subsets - 1], best[1, subsets - 1]


@compiled
def _assign_graphs(
    similarity: Array,
    importance_a: Array,
    importance_b: Array,
    gain: Array,
    flow: Array,
    numbers: Array,
    links: Indices,
) -> tuple[Array, Array, Array, Array]:
    """Assign the nodes of two graphs by the importance in the first, by that in the second, and by both together.

    Returns:
        the weight of every pair in the graph score, from the first two assignments, and the third assignment as ones
        and zeros, each ``[n_a, n_b]``; and the weight of the nodes that the first two leave out, ``[n_a]`` and
        ``[n_b]``.
    """
    n_a, n_b = similarity.shape
    swap = n_a > n_b
    ones = np.ones(max(n_a, n_b))
    weight = np.empty((n_a, n_b))
    plan = np.zeros((n_a, n_b))
    matched = np.zeros((n_a, n_b))
    left_a = n_a * importance_a / (n_a + n_b)
    left_b = n_b * importance_b / (n_a + n_b)
    for share_a, share_b in ((n_a, 0), (0, n_b), (n_a, n_b)):
        for i in range(n_a):
            for j in range(n_b):
                weight[i, j] = (share_a * importance_a[i] + share_b * importance_b[j]) / (n_a + n_b)
                if swap:
                    gain[j, i] = weight[i, j] * similarity[i, j]
                else:
                    gain[i, j] = weight[i, j] * similarity[i, j]
        _route(gain, ones, ones, min(n_a, n_b), max(n_a, n_b), flow, numbers, links)
        both = share_a > 0 and share_b > 0
        for i in range(n_a):
            for j in range(n_b):
                hit = flow[j, i] if swap else flow[i, j]
                if both:
                    matched[i, j] = hit
                elif hit > 0.0:
                    plan[i, j] += weight[i, j]
                    if share_a > 0:
                        left_a[i] = 0.0
                    else:
                        left_b[j] = 0.0
    return plan, matched, left_a, left_b


@compiled
def match(
    initial: Array,
    relation_a: Indices,
    relation_b: Indices,
    importance_a: Array,
    importance_b: Array,
    relation_similarity: Array,
    alpha: float,
    beta: float,
    iterations: int,
    synchronous: bool,
    transport: bool,
    slack: float,
    lower: bool,
    history: Array,
) -> tuple[Array, Array, Array, Array, Array]:
    """Match two scene graphs.

    Args:
        initial: similarity of every pair of nodes before any neighbour is looked at, ``[n_a, n_b]``.
        relation_a: predicate of every ordered pair of nodes, negative where there is none, ``[n_a, n_a]``.
        relation_b: ``[n_b, n_b]``.
        importance_a: positive, ``[n_a]``.
        importance_b: positive, ``[n_b]``.
        relation_similarity: of every two predicates, ``[p, p]``.
        alpha: share of the relations in the benefit of matching two neighbours.
        beta: share of the neighbours in every update.
        iterations: how many updates.
        synchronous: whether every update reads the previous one only.
        transport: whether importance is a mass to be transported, rather than a weight of one-to-one matches.
        slack: share of its own mass that a node may take in beyond it, with transport.
        lower: whether, with slack, the direction that gains less counts, rather than the mean of both.
        history: receives the similarity before each update, of as many as it has room for, ``[t, n_a, n_b]``.

    Returns:
        the final similarity, the weight of every pair in the graph score, and which pairs are matched (where
        positive), each ``[n_a, n_b]``; and the weight of the nodes that go without a match, ``[n_a]`` and ``[n_b]``.
    """
    n_a, n_b = initial.shape
    start_a, neighbour_a, predicate_a, share_a = _neighbours(relation_a, importance_a)
    start_b, neighbour_b, predicate_b, share_b = _neighbours(relation_b, importance_b)

    size = max(n_a, n_b)
    benefit = np.empty((size, size))
    gain = np.empty((size, size))
    flow = np.empty((size, size))
    turned_flow = np.empty((size, size))
    capacity = np.empty(size)
    numbers = np.empty((4, size))
    links = np.empty((4, size), np.int64)
    row_share = np.empty(size)
    column_share = np.empty(size)
    ones = np.ones(size)
    best = np.empty((2, 1 << SUBSET_ROWS))

    similarity = initial.copy()
    for iteration in range(iterations):
        if iteration < len(history):
            history[iteration] = similarity
        # The first update reads the initial similarity in either order: the published numbers were made so.
        source = similarity.copy() if synchronous or iteration == 0 else similarity
        for i in range(n_a):
            degree_a = start_a[i + 1] - start_a[i]
            for j in range(n_b):
                degree_b = start_b[j + 1] - start_b[j]
                if degree_a == 0 or degree_b == 0:
                    value = 1.0 if degree_a == degree_b else 0.0
                else:
                    swap = degree_a > degree_b
                    rows = min(degree_a, degree_b)
                    columns = max(degree_a, degree_b)
                    for k in range(degree_a):
                        edge_a = start_a[i] + k
                        for m in range(degree_b):
                            edge_b = start_b[j] + m
                            predicates_alike = relation_similarity[predicate_a[edge_a], predicate_b[edge_b]]
                            similar = source[neighbour_a[edge_a], neighbour_b[edge_b]]
                            both = (1.0 - alpha) * similar + alpha * predicates_alike
                            if swap:
                                benefit[m, k] = both
                            else:
                                benefit[k, m] = both
                    for k in range(rows):
                        row_share[k] = share_b[start_b[j] + k] if swap else share_a[start_a[i] + k]
                    for k in range(columns):
                        column_share[k] = share_a[start_a[i] + k] if swap else share_b[start_b[j] + k]

                    if transport and slack == 0.0:
                        by_row = by_column = _route(
                            benefit, row_share, column_share, rows, columns, flow, numbers, links
                        )
                    elif transport:
                        by_row, by_column = _route_with_slack(
                            benefit,
                            row_share,
                            column_share,
                            slack,
                            rows,
                            columns,
                            flow,
                            gain,
                            turned_flow,
                            capacity,
                            numbers,
                            links,
                        )
                        if lower:
                            by_row = by_column = min(by_row, by_column)
                    elif rows <= SUBSET_ROWS:
                        by_row, by_column = _assign_subsets(benefit, row_share, column_share, rows, columns, best)
                    else:
                        for k in range(rows):
                            for m in range(columns):
                                gain[k, m] = benefit[k, m] * row_share[k]
                        by_row = _route(gain, ones, ones, rows, columns, flow, numbers, links)
                        for k in range(rows):
                            for m in range(columns):
                                gain[k, m] = benefit[k, m] * column_share[m]
                        by_column = _route(gain, ones, ones, rows, columns, flow, numbers, links)
                    weight_row = importance_b[j] if swap else importance_a[i]
                    weight_column = importance_a[i] if swap else importance_b[j]
                    value = (by_row * weight_row + by_column * weight_column) / (weight_row + weight_column)
                similarity[i, j] = (1.0 - beta) * similarity[i, j] + beta * value

    if transport:
        plan = np.empty((n_a, n_b))
        none_a, none_b = np.zeros(n_a), np.zeros(n_b)
        _masses(importance_a, n_a, row_share)
        _masses(importance_b, n_b, column_share)
        if slack == 0.0:
            _route(similarity, row_share, column_share, n_a, n_b, plan, numbers, links)
            return similarity, plan, plan, none_a, none_b
        by_row, by_column = _route_with_slack(
            similarity,
            row_share,
            column_share,
            slack,
            n_a,
            n_b,
            flow,
            gain,
            turned_flow,
            capacity,
            numbers,
            links,
        )
        share_of_rows = 0.5
        if lower:
            share_of_rows = 1.0 if by_row <= by_column else 0.0
        for i in range(n_a):
            for j in range(n_b):
                plan[i, j] = share_of_rows * flow[i, j] + (1.0 - share_of_rows) * turned_flow[j, i]
        return similarity, plan, plan, none_a, none_b
    plan, matched, left_a, left_b = _assign_graphs(similarity, importance_a, importance_b, gain, flow, numbers, links)
    return similarity, plan, matched, left_a, left_b


@compiled
def _match_shares(
    gain: Array,
    row_share: Array,
    column_share: Array,
    transport: bool,
    slack: float,
    lower: bool,
    share_of_rows: float,
    rows: int,
    columns: int,
    plan: Array,
    row_price: Array,
    column_price: Array,
    turned: Array,
    flow: Array,
    capacity: Array,
    numbers: Array,
    links: Indices,
) -> tuple[float, float]:
    """Match rows with columns in both directions, and differentiate the mean of what the two directions gain.

    At the best matching, the derivative by the gains is the matching itself, and that by the masses is their price (the
    envelope theorem, and duality).

    Args:
        gain: similarity of every row and column.
        row_share: mass or weight of the rows.
        column_share: of the columns.
        transport: as for ``match``.
        slack: likewise.
        lower: likewise.
        share_of_rows: weight of the first direction in the mean, unless ``lower`` chooses one of the two.
        rows: how many rows count.
        columns: how many columns count.
        plan: receives the derivative by ``gain``.
        row_price: receives the derivative by ``row_share``.
        column_price: receives the derivative by ``column_share``.
        turned: scratch, ``[>= columns and rows, >= columns and rows]``.
        flow: likewise.
        capacity: scratch, ``[>= columns and rows]``.
        numbers: scratch, as for ``_route``.
        links: likewise.

    Returns:
        the gain of either direction.
    """
    if transport:
        for column in range(columns):
            capacity[column] = np.floor((1.0 + slack) * column_share[column] * GRID) / GRID
        by_row = _route(gain, row_share, capacity, rows, columns, plan, numbers, links)
        row_price[:rows] = numbers[0, :rows]
        column_price[:columns] = (1.0 + slack) * numbers[1, :columns]
        if slack == 0.0:
            return by_row, by_row
        for row in range(rows):
            capacity[row] = np.floor((1.0 + slack) * row_share[row] * GRID) / GRID
            for column in range(columns):
                turned[column, row] = gain[row, column]
        by_column = _route(turned, column_share, capacity, columns, rows, flow, numbers, links)
        if lower:
            share_of_rows = 1.0 if by_row <= by_column else 0.0
        for row in range(rows):
            price = (1.0 + slack) * numbers[1, row]
            row_price[row] = share_of_rows * row_price[row] + (1.0 - share_of_rows) * price
            for column in range(columns):
                plan[row, column] = share_of_rows * plan[row, column] + (1.0 - share_of_rows) * flow[column, row]
        for column in range(columns):
            price = numbers[0, column]
            column_price[column] = share_of_rows * column_price[column] + (1.0 - share_of_rows) * price
        return by_row, by_column

    swap = rows > columns
    ones = np.ones(max(rows, columns))
    row_price[:rows] = 0.0
    column_price[:columns] = 0.0
    plan[:rows, :columns] = 0.0
    gained = np.empty(2)
    for direction in range(2):
        part = share_of_rows if direction == 0 else 1.0 - share_of_rows
        for row in range(rows):
            for column in range(columns):
                weighted = gain[row, column] * (row_share[row] if direction == 0 else column_share[column])
                if swap:
                    turned[column, row] = weighted
                else:
                    turned[row, column] = weighted
        gained[direction] = _route(turned, ones, ones, min(rows, columns), max(rows, columns), flow, numbers, links)
        for row in range(rows):
            for column in range(columns):
                if (flow[column, row] if swap else flow[row, column]) > 0.0:
                    if direction == 0:
                        plan[row, column] += part * row_share[row]
                        row_price[row] += part * gain[row, column]
                    else:
                        plan[row, column] += part * column_share[column]
                        column_price[column] += part * gain[row, column]
    return gained[0], gained[1]


@compiled
def match_gradient(
    similarity: Array,
    history: Array,
    relation_a: Indices,
    relation_b: Indices,
    importance_a: Array,
    importance_b: Array,
    relation_similarity: Array,
    alpha: float,
    beta: float,
    synchronous: bool,
    transport: bool,
    slack: float,
    lower: bool,
) -> tuple[Array, Array, Array]:
    """Differentiate the graph score of ``match``, going through its updates from the last to the first.

    Args:
        similarity: the final one, as ``match`` returns it.
        history: that before each update, as ``match`` writes it.
        relation_a: as for ``match``, and so are all others.
        relation_b: likewise.
        importance_a: likewise.
        importance_b: likewise.
        relation_similarity: likewise.
        alpha: likewise.
        beta: likewise.
        synchronous: likewise.
        transport: likewise.
        slack: likewise.
        lower: likewise.

    Returns:
        the derivatives by the initial similarity ``[n_a, n_b]``, and by either importance, ``[n_a]`` and ``[n_b]``.
    """
    n_a, n_b = similarity.shape
    size = max(n_a, n_b)
    benefit = np.empty((size, size))
    plan = np.empty((size, size))
    turned = np.empty((size, size))
    flow = np.empty((size, size))
    capacity = np.empty(size)
    numbers = np.empty((4, size))
    links = np.empty((4, size), np.int64)
    row_share = np.empty(size)
    column_share = np.empty(size)
    row_price = np.empty(size)
    column_price = np.empty(size)

    if transport:
        _masses(importance_a, n_a, row_share)
        _masses(importance_b, n_b, column_share)
        share_of_rows = 0.5
    else:
        row_share[:n_a] = importance_a
        column_share[:n_b] = importance_b
        share_of_rows = n_a / (n_a + n_b)
    _match_shares(
        similarity,
        row_share,
        column_share,
        transport,
        slack,
        lower,
        share_of_rows,
        n_a,
        n_b,
        plan,
        row_price,
        column_price,
        turned,
        flow,
        capacity,
        numbers,
        links,
    )
    by_similarity = plan[:n_a, :n_b].copy()
    by_a = row_price[:n_a].copy()
    by_b = column_price[:n_b].copy()
    if transport:
        by_a = (by_a - (by_a * row_share[:n_a]).sum()) / importance_a.sum()
        by_b = (by_b - (by_b * column_share[:n_b]).sum()) / importance_b.sum()

    start_a, neighbour_a, predicate_a, share_a = _neighbours(relation_a, importance_a)
    start_b, neighbour_b, predicate_b, share_b = _neighbours(relation_b, importance_b)
    for iteration in range(len(history) - 1, -1, -1):
        before = history[iteration]
        in_place = not synchronous and iteration > 0
        source = before
        by_updated = by_similarity.copy()
        if in_place:
            source = (history[iteration + 1] if iteration + 1 < len(history) else similarity).copy()
            by_updated = by_similarity
        # Backwards, so that in place every pair meets the similarities that it read when it was updated.
        for i in range(n_a - 1, -1, -1):
            edges_a = slice(start_a[i], start_a[i + 1])
            degree_a = start_a[i + 1] - start_a[i]
            for j in range(n_b - 1, -1, -1):
                edges_b = slice(start_b[j], start_b[j + 1])
                degree_b = start_b[j + 1] - start_b[j]
                source[i, j] = before[i, j]
                by_value = beta * by_updated[i, j]
                by_similarity[i, j] -= by_value
                if by_value == 0.0 or degree_a == 0 or degree_b == 0:
                    continue
                total_a = 0.0
                total_b = 0.0
                for k in range(degree_a):
                    edge_a = start_a[i] + k
                    total_a += importance_a[neighbour_a[edge_a]]
                    for m in range(degree_b):
                        edge_b = start_b[j] + m
                        predicates_alike = relation_similarity[predicate_a[edge_a], predicate_b[edge_b]]
                        similar = source[neighbour_a[edge_a], neighbour_b[edge_b]]
                        benefit[k, m] = (1.0 - alpha) * similar + alpha * predicates_alike
                for m in range(degree_b):
                    total_b += importance_b[neighbour_b[start_b[j] + m]]
                both = importance_a[i] + importance_b[j]
                by_row, by_column = _match_shares(
                    benefit,
                    share_a[edges_a],
                    share_b[edges_b],
                    transport,
                    slack,
                    lower,
                    importance_a[i] / both,
                    degree_a,
                    degree_b,
                    plan,
                    row_price,
                    column_price,
                    turned,
                    flow,
                    capacity,
                    numbers,
                    links,
                )
                if not (transport and lower):
                    by_a[i] += by_value * (by_row - by_column) * importance_b[j] / both**2
                    by_b[j] -= by_value * (by_row - by_column) * importance_a[i] / both**2
                mean_a = (row_price[:degree_a] * share_a[edges_a]).sum()
                mean_b = (column_price[:degree_b] * share_b[edges_b]).sum()
                for k in range(degree_a):
                    by_a[neighbour_a[start_a[i] + k]] += by_value * (row_price[k] - mean_a) / total_a
                for m in range(degree_b):
                    by_b[neighbour_b[start_b[j] + m]] += by_value * (column_price[m] - mean_b) / total_b
                for k in range(degree_a):
                    for m in range(degree_b):
                        pair = neighbour_a[start_a[i] + k], neighbour_b[start_b[j] + m]
                        by_similarity[pair] += by_value * (1.0 - alpha) * plan[k, m]
    return by_similarity, by_a, by_b
