"""Curves of losses as an SVG."""

COLORS = ("#000000", "#d55e00", "#009e73", "#0072b2", "#cc79a7", "#e69f00", "#56b4e9")
WIDTH, HEIGHT, LEFT, BOTTOM = 760, 420, 60, 40


def smoothed(losses, over=10):
    """Means of up to `over` losses, the last of them at each step."""
    windows = (losses[max(0, i - over + 1):i + 1] for i in range(len(losses)))
    return [sum(window) / len(window) for window in windows]


def loss_plot(curves):
    """{name: losses} over steps."""
    curves = {name: smoothed(losses) for name, losses in curves.items()}
    low, high = min(map(min, curves.values())), max(map(max, curves.values()))
    steps = max(map(len, curves.values()))

    def x(step):
        return LEFT + step * (WIDTH - LEFT - 20) / max(1, steps - 1)

    def y(loss):
        return HEIGHT - BOTTOM - (loss - low) * (HEIGHT - BOTTOM - 20) / ((high - low) or 1)

    parts = [f'<text x="{LEFT - 8}" y="{y(v):.1f}" text-anchor="end">{v:.2f}</text>' for v in _ticks(low, high)]
    parts += [f'<text x="{x(s):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{s:.0f}</text>'
              for s in _ticks(0, steps - 1)]
    for i, (name, losses) in enumerate(curves.items()):
        points = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in enumerate(losses))
        color = COLORS[i % len(COLORS)]
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>')
        parts.append(f'<text x="{WIDTH - 130}" y="{30 + 18 * i}" fill="{color}">{name}</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
            'font-size="12">\n<title>Loss in nats a character, over steps</title>\n'
            '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n")


def _ticks(low, high, count=5):
    return [low + (high - low) * i / (count - 1) for i in range(count)]
