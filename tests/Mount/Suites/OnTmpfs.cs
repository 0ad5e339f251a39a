using EphemeralFs.Tests.Mount.Posix;

namespace EphemeralFs.Tests.Mount.Suites;

public sealed class FileExerciserOnTmpfs(TmpfsTarget target) : FileExerciserChecks(target), IClassFixture<TmpfsTarget>;
