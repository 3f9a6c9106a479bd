"""The panoptic merge, pixel by pixel."""


def naive_merge(scores, labels, masks, isthing, overlap=0.8):
    """(segment map as nested lists, {id: (label, area)}) from probabilities masks[q][y][x] of kept queries."""
    height, width, count = len(masks[0]), len(masks[0][0]), len(scores)
    owner = [
        [max(range(count), key=lambda q, y=y, x=x: scores[q] * masks[q][y][x]) for x in range(width)]
        for y in range(height)
    ]
    pixels = [(y, x) for y in range(height) for x in range(width)]
    segments, stuff, out = {}, {}, [[0] * width for _ in range(height)]
    for q in range(count):
        owned = [p for p in pixels if owner[p[0]][p[1]] == q]
        solid = [p for p in pixels if masks[q][p[0]][p[1]] >= 0.5]
        both = [p for p in owned if p in solid]
        if not owned or not solid or not both or len(owned) / len(solid) < overlap:
            continue
        label = labels[q]
        key = stuff.get(label, len(segments) + 1)
        if not isthing[label]:
            stuff[label] = key
        before = segments.get(key, (label, 0))[1]
        segments[key] = (label, before + len(both))
        for y, x in both:
            out[y][x] = key
    return out, segments
