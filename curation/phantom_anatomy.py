"""Where a phantom's organs are and how they look: shapes in millimetres, HU, and the painting of one case.

Positions are those of a standard body in RAS+: x grows to the patient's right, y to the front, z to the head.
The middle of a vertebra is about (0, -64, z), the diaphragm's top at z = 120.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float, float]
Box = tuple[slice, slice, slice]

AIR, LUNG, FAT = -1000.0, -830.0, -100.0


@dataclass(frozen=True)
class Ellipsoid:
    """`tilt_deg` turns it about y, in the coronal plane: positive leans the top to the patient's right."""

    center: Point
    radii: Point
    tilt_deg: float = 0.0

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        reach = np.full(3, max(self.radii)) if self.tilt_deg else np.array(self.radii)
        return self.center - reach, self.center + reach

    def level(self, x: NDArray, y: NDArray, z: NDArray) -> NDArray:
        """0 at the centre, 1 on the surface, growing outwards."""
        dx, dy, dz = x - self.center[0], y - self.center[1], z - self.center[2]
        if self.tilt_deg:
            c, s = math.cos(math.radians(self.tilt_deg)), math.sin(math.radians(self.tilt_deg))
            dx, dz = c * dx - s * dz, s * dx + c * dz
        rx, ry, rz = self.radii
        return np.sqrt((dx / rx) ** 2 + (dy / ry) ** 2 + (dz / rz) ** 2)


@dataclass(frozen=True)
class Tube:
    """A chain of round cones through (x, y, z, radius)."""

    points: tuple[tuple[float, float, float, float], ...]

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        points = np.array(self.points)
        return (points[:, :3] - points[:, 3:]).min(0), (points[:, :3] + points[:, 3:]).max(0)

    def level(self, x: NDArray, y: NDArray, z: NDArray) -> NDArray:
        """Distance from the chain in radii: 0 on its line, 1 on the surface."""
        nearest = np.full(np.broadcast_shapes(x.shape, y.shape, z.shape), np.inf, np.float32)
        for (ax, ay, az, ar), (bx, by, bz, br) in zip(self.points, self.points[1:], strict=False):
            ux, uy, uz = bx - ax, by - ay, bz - az
            t = ((x - ax) * ux + (y - ay) * uy + (z - az) * uz) / (ux * ux + uy * uy + uz * uz)
            t = np.clip(t, 0, 1)
            squared = (x - ax - t * ux) ** 2 + (y - ay - t * uy) ** 2 + (z - az - t * uz) ** 2
            nearest = np.minimum(nearest, np.sqrt(squared) / (ar + t * (br - ar)))
        return nearest


Shape = Ellipsoid | Tube

# In painting order: where shapes overlap the later one stands. Positions and sizes are rough figures of an
# adult; small organs are drawn generously, so that a 5 mm grid can hold them.
_LIVER = (Ellipsoid((72, 8, 42), (64, 76, 74), 12), Ellipsoid((5, 48, 66), (58, 34, 36), -12))
_STOMACH = Tube(((-62, -8, 82, 30), (-76, 22, 52, 32), (-58, 48, 16, 25), (-16, 58, 2, 18), (14, 52, 6, 13)))
_DUODENUM = Tube(((26, 46, 4, 13), (50, 26, -8, 13), (50, 8, -42, 12), (16, -6, -58, 12), (-16, 2, -48, 12)))
_PANCREAS = Tube(((26, 18, -24, 15), (14, 24, 2, 13), (-18, 28, 16, 12), (-50, 4, 28, 12), (-74, -18, 38, 9)))
_VENA_CAVA = Tube(((18, -32, -130, 12), (20, -32, 0, 12.5), (22, -24, 80, 13), (16, -6, 108, 13)))
_AORTA = Tube(((-8, -32, -112, 10), (-9, -33, 0, 11), (-10, -40, 90, 12), (-14, -50, 170, 13)))
_ESOPHAGUS = Tube(((-4, -22, 170, 9), (-6, -16, 112, 9), (-22, -8, 96, 9), (-40, -8, 92, 9)))
ORGAN_SHAPES: tuple[tuple[int, tuple[Shape, ...]], ...] = (
    (1, _LIVER),
    (3, (Ellipsoid((-104, -40, 52), (27, 40, 48), -15),)),
    (11, (_STOMACH,)),
    (12, (_DUODENUM,)),
    (4, (_PANCREAS,)),
    (2, (Ellipsoid((62, -46, -18), (26, 25, 50), -10),)),
    (13, (Ellipsoid((-62, -46, -4), (26, 25, 50), 10),)),
    (9, (Ellipsoid((54, 58, -4), (17, 20, 28), 15),)),
    (6, (_VENA_CAVA,)),
    (5, (_AORTA,)),
    (10, (_ESOPHAGUS,)),
    (7, (Ellipsoid((40, -46, 50), (8, 18, 19), -20),)),
    (8, (Ellipsoid((-37, -38, 58), (8, 18, 19), 20),)),
)

# Mean and spread from case to case, HU, in a portal-venous scan. Hollow organs: the wall.
ORGAN_HU: dict[int, tuple[float, float]] = {
    1: (108, 8), 2: (165, 14), 3: (124, 8), 4: (92, 8), 5: (158, 14), 6: (134, 12), 7: (72, 7),
    8: (72, 7), 9: (12, 6), 10: (48, 6), 11: (78, 7), 12: (84, 7), 13: (165, 14),
}  # fmt: skip
# Kidneys share one blood supply, adrenals too: a case's left organ looks like its right one.
_SAME_AS = {13: 2, 8: 7}


@dataclass(frozen=True, eq=False)
class Space:
    """A voxel grid and, per voxel, where in the standard body it lies."""

    affine: NDArray[np.float64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    z: NDArray[np.float32]

    @classmethod
    def draw(cls, rng: np.random.Generator, spacing_mm: float) -> "Space":
        """Draw a field of view, and a patient's size, posture and smooth deformation in it."""
        extent_mm = np.array([380, 280, 300]) + rng.uniform(-18, 18, 3)
        shape = np.maximum(np.rint(extent_mm / spacing_mm).astype(int), 1)
        affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
        affine[:3, 3] = np.round(-(shape - 1) / 2 * spacing_mm + rng.uniform(-30, 30, 3), 1)

        angles = np.radians(rng.normal(0, [2.5, 2.5, 4]))
        matrix = _rotation(angles) / rng.normal(1, 0.05, (3, 1))
        shift = rng.normal(0, [6, 5, 8])
        axes = [(np.arange(n) - (n - 1) / 2) * spacing_mm - s for n, s in zip(shape, shift, strict=True)]
        # Low-frequency cosines along each axis: smooth, and the same at every resolution.
        waves = 5
        basis = [np.cos(np.outer(axis + s + 200, np.arange(waves)) * math.pi / 400)
                 for axis, s in zip(axes, shift, strict=True)]  # fmt: skip
        damping = 1 / (1 + sum(g.astype(float) for g in np.meshgrid(*[np.arange(waves)] * 3, indexing="ij")))
        coordinates = []
        for row in matrix:
            bend = np.einsum(
                "abc,xa,yb,zc->xyz", rng.normal(0, 7, (waves,) * 3) * damping, *basis, optimize=True
            )
            straight = np.add.outer(np.add.outer(row[0] * axes[0], row[1] * axes[1]), row[2] * axes[2])
            coordinates.append((straight + bend).astype(np.float32))
        return cls(affine, *coordinates)

    def box(self, shape: Shape, reach: float = 1.0) -> Box:
        """The part of the grid that can hold `shape` grown by the factor `reach`; may be empty."""
        low, high = shape.bounds()
        middle, half = (low + high) / 2, (high - low) / 2 * reach
        inside = np.ones(self.x.shape, bool)
        for axis, coordinate in enumerate((self.x, self.y, self.z)):
            inside &= np.abs(coordinate - np.float32(middle[axis])) <= half[axis]
        slices = []
        for axis in range(3):
            hit = np.flatnonzero(inside.any(tuple(other for other in range(3) if other != axis)))
            slices.append(slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0))
        return slices[0], slices[1], slices[2]

    def level(self, shape: Shape, box: Box) -> NDArray:
        return shape.level(self.x[box], self.y[box], self.z[box])


@dataclass(frozen=True)
class Body:
    """What differs from patient to patient besides posture: fat, each organ's place, size and HU."""

    fat_rim_mm: float
    shapes: tuple[tuple[int, tuple[Shape, ...]], ...]
    hu: dict[int, float]
    muscle_hu: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Body":
        shapes = tuple(
            (organ, _vary(parts, rng, small=organ in (5, 6, 7, 8, 10))) for organ, parts in ORGAN_SHAPES
        )
        # An early or late scan: everything that takes contrast is brighter or duller together.
        enhancement = rng.normal(1, 0.08)
        drawn = {o: 40 + (rng.normal(*ORGAN_HU[o]) - 40) * enhancement for o in sorted(ORGAN_HU)}
        hu = {organ: drawn[_SAME_AS.get(organ, organ)] for organ in drawn}
        hu[9] = rng.normal(*ORGAN_HU[9])  # bile takes none
        return cls(rng.uniform(8, 26), shapes, hu, rng.normal(58, 4))


def paint_body(
    space: Space, body: Body, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Paint all that is no organ: air, fat, muscle, bones, lungs, heart, bowel.

    Returns:
        HU, and a smooth random field of about -1 to 1 that decides what hollow organs hold; both (X, Y, Z).
    """
    x, y, z = space.x, space.y, space.z
    image = np.full(x.shape, AIR, np.float32)

    def ellipse(cx: float, cy: float, rx: float, ry: float) -> NDArray:
        return np.sqrt(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2)

    cavity = ellipse(0, -4, 138, 92)
    wall = ellipse(0, -6, 152, 106)
    image[ellipse(0, -6, 152 + body.fat_rim_mm, 106 + body.fat_rim_mm) < 1] = FAT
    image[wall < 1] = body.muscle_hu
    image[cavity < 1] = FAT

    # Bowel loops, with fluid and gas: what a network must not call stomach. A thresholded wave pattern.
    phase = rng.uniform(0, 2 * math.pi, 6)
    wave = np.sin(x / 13 + phase[0] + 2 * np.sin(z / 31 + phase[1])) + np.sin(y / 12 + phase[2])
    wave = wave + np.sin(z / 14 + phase[3] + 2 * np.sin(x / 37 + phase[4]))
    bowel = (cavity < 0.93) & (y > -25) & (z < 25) & (wave > 0.4)
    image[bowel] = rng.normal(45, 6)
    image[bowel & (wave > 1.9)] = rng.choice([-700.0, 15.0, 90.0])
    for cx in (104, -112):  # ascending and descending colon
        colon = ellipse(cx, -8, 20, 20) + 0.08 * np.sin(z / 9 + phase[5])
        image[(colon < 1) & (z < 5)] = 50
        image[(colon < 0.75) & (z < 5)] = np.where(wave > 0.6, -600, 20)[(colon < 0.75) & (z < 5)]

    dome = _diaphragm_mm(space)
    chest = (cavity < 1) & (z > dome)
    image[chest] = 35  # mediastinum
    image[chest & (np.abs(x + 4) > 30 + 14 * np.sin(y / 40))] = LUNG
    image[(Ellipsoid((-22, 32, 160), (52, 44, 44)).level(x, y, z) < 1) & (z > dome)] = 0.8 * body.hu[5]

    for side in (-1, 1):
        image[(ellipse(38 * side, -66, 17, 19) < 1) & (z < 15)] = body.muscle_hu  # psoas
        image[ellipse(34 * side, -94, 30, 17) < 1] = body.muscle_hu  # erector spinae

    rib = (wall < 0.98) & (cavity > 0.99) & (np.sin((z - 0.6 * y) / 5) > 0.6) & (z > -20 + 0.5 * y)
    image[rib] = rng.normal(330, 40)
    vertebra, disc = ellipse(0, -64, 24, 18), np.sin(z / 5.6) > 0.93
    image[vertebra < 1] = np.where(vertebra < 0.8, rng.normal(190, 25), 420)[vertebra < 1]
    image[(vertebra < 1) & disc] = 90
    image[ellipse(0, -92, 15, 14) < 1] = 380
    image[ellipse(0, -104, 5, 14) < 1] = 360
    image[ellipse(0, -89, 9, 8) < 1] = 30
    return image, (wave / 3).astype(np.float32)


def paint_organs(
    space: Space, body: Body, image: NDArray[np.float32], lumen: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Paint the 13 organs into `image` (HU, in place); returns their label values, uint8, (X, Y, Z)."""
    organs = np.zeros(image.shape, np.uint8)
    # Water or food. Nobody drank contrast medium: of ten strong cases one would show it, too few to learn it from,
    # and every unseen stomach filled with it would only measure that.
    stomach_fill = rng.choice([15.0, 22.0, 30.0, 45.0])
    bowel_fill = rng.choice([15.0, 40.0])
    gas_y_mm = rng.uniform(45, 70)
    inside_wall = (space.x / 136) ** 2 + ((space.y + 4) / 90) ** 2 < 1
    # Organs stand below the diaphragm; vessels and esophagus pass through it.
    abdomen = inside_wall & (space.z < _diaphragm_mm(space))

    for organ, parts in body.shapes:
        for part in parts:
            box = space.box(part, reach=1.2)
            level = space.level(part, box)
            allowed = (inside_wall if organ in (5, 6, 10) else abdomen)[box]
            here, there = image[box], organs[box]
            if organ in (2, 13, 7, 8):
                # Kidneys and adrenals lie in fat, which keeps liver and spleen off them.
                capsule = (level < 1.13) & allowed & ((there == 0) | (there == 1) | (there == 3))
                here[capsule], there[capsule] = FAT, 0
            inside = (level < 1) & allowed
            there[inside] = organ
            here[inside] = body.hu[organ]
            if organ in (2, 13):  # medulla and pelvis
                here[(level < 0.62) & allowed] = body.hu[organ] - 35
                here[(level < 0.25) & allowed] = 15
            elif organ == 11:
                content = (level < 0.82) & allowed
                here[content] = np.where(space.y[box] > gas_y_mm, -850, stomach_fill)[content]
            elif organ == 12:
                content = (level < 0.6) & allowed
                here[content] = np.where(lumen[box] > 0.55, -500, bowel_fill)[content]
            elif organ == 10:
                content = (level < 0.35) & allowed
                here[content] = np.where(lumen[box] > 0.1, -350, 40)[content]
    return organs


def _diaphragm_mm(space: Space) -> NDArray[np.float32]:
    """Height z of the diaphragm above each voxel's (x, y): two domes, lower at the rim and in the middle."""
    domes = 120 - 0.0035 * (np.abs(space.x) - 62) ** 2 - 0.006 * (space.y - 5) ** 2
    return np.asarray(domes, np.float32)


def _vary(parts: tuple[Shape, ...], rng: np.random.Generator, *, small: bool) -> tuple[Shape, ...]:
    """Shift, scale and turn one organ as a whole; vessels, adrenals and esophagus less than the others."""
    shift = rng.normal(0, 2.0 if small else 4.5, 3)
    scale = rng.normal(1, 0.05 if small else 0.08, 3).clip(0.8, 1.25)
    turn = rng.normal(0, 6)
    varied: list[Shape] = []
    for part in parts:
        if isinstance(part, Ellipsoid):
            center = tuple(c + s for c, s in zip(part.center, shift, strict=True))
            radii = tuple(r * s for r, s in zip(part.radii, scale, strict=True))
            varied.append(Ellipsoid(center, radii, part.tilt_deg + turn))
        else:
            bends = rng.normal(0, 1.5 if small else 3.5, (len(part.points), 3))
            points = tuple(
                (x + shift[0] + b[0], y + shift[1] + b[1], z + shift[2] + b[2], r * scale[0])
                for (x, y, z, r), b in zip(part.points, bends, strict=True)
            )
            varied.append(Tube(points))
    return tuple(varied)


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation about x, then y, then z by `angles` (radians), shape (3, 3)."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x
