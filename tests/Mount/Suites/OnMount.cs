using EphemeralFs.Tests.Mount.Posix;

namespace EphemeralFs.Tests.Mount.Suites;

[Collection(MountCollection.Name)]
public sealed class FileExerciserOnMount(MountTarget target) : FileExerciserChecks(target);
